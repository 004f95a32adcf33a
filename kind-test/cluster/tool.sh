#!/usr/bin/env bash
# Prints the path of a program that install.sh builds (helm, kubectl, kubeconform), or fails where it is not built yet.
set -euo pipefail
# shellcheck source=settings.sh
source "$(dirname "$0")/settings.sh"
[[ $# -eq 1 ]] || { echo "usage: tool.sh NAME" >&2; exit 2; }
[[ -x $BIN/$1 ]] || { echo "$1 is not built: run kind-test/cluster/install.sh" >&2; exit 1; }
echo "$BIN/$1"
