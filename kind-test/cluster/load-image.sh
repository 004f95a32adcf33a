#!/usr/bin/env bash
# Gives an image (a docker-archive, as build-image.sh makes it) to every node's containerd, so that pods can use it
# with imagePullPolicy Never or IfNotPresent. Returns when every node's kubelet can see it.
# Usage: load-image.sh IMAGE_TAR
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=settings.sh
. "$HERE/settings.sh"
# shellcheck source=say.sh
. "$HERE/say.sh"

main() {
  local node import imports=() tar=${1:-}
  need_linux_root
  [ -f "$tar" ] || die "usage: load-image.sh IMAGE_TAR (no file '$tar')"
  [ -d "$RUN" ] || die "no cluster is up (run up.sh)"
  for node in "${NODES[@]}"; do
    load_into "$node" "$tar" &
    imports+=($!)
  done
  for import in "${imports[@]}"; do wait "$import" || die "could not load $tar"; done
  say "loaded $(basename "$tar") into ${#NODES[@]} nodes"
}

load_into() {
  local image
  wait_for 30 "containerd of $1" containerd_on "$1" version
  containerd_on "$1" images import "$2" >/dev/null
  for image in $(tags "$2"); do wait_for 30 "the kubelet of $1 to see $image" kubelet_sees "$1" "$image"; done
}

containerd_on() { ctr --address "$RUN/$1/containerd.sock" --namespace k8s.io "${@:2}"; }
tags() { tar -xOf "$1" manifest.json | jq -r '.[].RepoTags[]'; }

# containerd's CRI marks an image with this label when it has taken note of it.
kubelet_sees() {
  containerd_on "$1" images ls -q "name==$2,labels.\"io.cri-containerd.image\"==managed" | grep -q .
}

main "$@"
