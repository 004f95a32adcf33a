#!/usr/bin/env bash
# Takes the cluster down and leaves nothing behind: its processes and containers, mounts, network namespaces, bridge
# (and with it the routes), cgroups and the run folder. Signals only processes that up.sh recorded, the shims of its
# own containerds, and what runs in its own cgroups. Safe when nothing is up, or half of it. Keeps the built programs.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings say processes down/containers down/traces; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done

main() {
  need_linux_root
  if [ -z "${KOTOBA_LOCKED:-}" ]; then
    mkdir -p "$(dirname "$RUN")"
    exec 9>"$(dirname "$RUN")/run.lock"
    flock -w 600 9 || die "another up.sh or down.sh has been at work for ten minutes"
  fi
  anything_left || return 0
  say "taking the cluster down"
  stop_all_processes
  remove_mounts
  remove_network
  remove_cgroups
  remove_files
  say "the cluster is down"
}

anything_left() {
  local namespace
  for namespace in "$ROUTER" "${NODES[@]}"; do [ ! -e "/run/netns/$namespace" ] || return 0; done
  [ -e "$RUN" ] || [ -e "/sys/class/net/$BRIDGE" ]
}

# Who starts things goes before what it started; the API server and etcd go last.
stop_all_processes() {
  local names
  for names in 'kubelet-* kube-proxy-*' 'local-path coredns kube-scheduler kube-controller-manager' CONTAINERS \
    'containerd-*' SHIMS 'kube-apiserver' 'etcd' '*'; do
    case $names in
      CONTAINERS) kill_containers ;;
      SHIMS) kill_shims ;;
      *)
        # shellcheck disable=SC2046,SC2086 # patterns and names have no blanks
        set -f && set -- $names && set +f && stop_processes $(recorded_processes "$@")
        ;;
    esac
  done
}

main
