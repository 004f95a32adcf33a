#!/usr/bin/env bash
# Loses a node and brings it back. stop: its kubelet and kube-proxy die and its cable is pulled (NotReady after about
# 27 s; its containers go on, unreachable); start undoes that. cut and heal only pull and plug the cable.
# Usage: node.sh stop|start|cut|heal NODE
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings say processes up/certificates up/network up/node; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done

main() {
  need_linux_root
  [ $# = 2 ] || die "usage: node.sh stop|start|cut|heal NODE"
  local index
  index=$(index_of "$2") || die "no node $2 (there are ${NODES[*]})"
  [ -d "$RUN/$2" ] || die "no cluster is up (run up.sh)"
  case $1 in
    stop) stop_node "$2" ;;
    start) start_node "$index" ;;
    cut) cable "$2" down ;;
    heal) cable "$2" up ;;
    *) die "cannot $1 a node; stop, start, cut or heal" ;;
  esac
  say "$2: $1 done"
}

index_of() {
  local i
  for i in "${!NODES[@]}"; do
    [ "${NODES[i]}" != "$1" ] || { printf '%s\n' "$i"; return; }
  done
  return 1
}

stop_node() {
  kill_process "kubelet-$1"
  kill_process "kube-proxy-$1"
  cable "$1" down
}

start_node() {
  local node=${NODES[$1]}
  cable "$node" up
  process_runs "kubelet-$node" || start_kubelet "$1"
  process_runs "kube-proxy-$node" || start_kube_proxy "$node"
}

cable() { ip link set "veth-$1" "$2"; }

main "$@"
