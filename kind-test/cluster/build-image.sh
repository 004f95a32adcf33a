#!/usr/bin/env bash
# Builds one image of KotobaDB from the repository's Dockerfile without a registry and without Docker.
# The Dockerfile's `build` stage is replaced by BIN_DIR, a folder with the ready binaries; TARGET is the stage to make.
# KOTOBA_DOCKERFILE names another Dockerfile. Usage: build-image.sh TARGET TAG BIN_DIR OUT_TAR
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=say.sh
. "$HERE/say.sh"
# shellcheck source=images.sh
. "$HERE/images.sh"

[ $# = 4 ] || die "usage: build-image.sh TARGET TAG BIN_DIR OUT_TAR"
need_linux_root
command -v buildah >/dev/null || skip "buildah is not installed (run install.sh)"
[ -d "$3" ] || die "no folder $3"
dockerfile=${KOTOBA_DOCKERFILE:-$HERE/../../Dockerfile}
[ -f "$dockerfile" ] || die "no Dockerfile at $dockerfile"

archive_image "$2" "$dockerfile" "$(dirname "$dockerfile")" "$4" \
  --build-context "build=$(realpath "$3")" --target "$1"
say "image $2 is in $4"
