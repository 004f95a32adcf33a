#!/usr/bin/env bash
# Brings up a real Kubernetes of three nodes in three zones on this machine, without Docker, and waits till it works.
# Finds a healthy cluster and leaves it; clears away a broken one first. The last line of stdout is the path of the
# kubeconfig; everything else goes to stderr. Usage: up.sh [NAME] (the name of the cluster in the kubeconfig)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CLUSTER=${1:-kotoba}
for part in settings say processes up/certificates up/network up/control-plane up/router up/node up/addons up/smoke; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done
export PATH=$BIN:$PATH KUBECONFIG=$RUN/kubeconfig

main() {
  need_linux_root
  [ -d /sys/fs/cgroup/cpuset ] || skip "needs cgroup v1 controllers; with cgroup v2 use Docker and kind"
  ((${#RUN} <= 60)) || die "$RUN is too long for the socket paths below it; set KOTOBA_CACHE to a shorter folder"
  "$HERE/install.sh"
  mkdir -p "$(dirname "$RUN")"
  exec 9>"$(dirname "$RUN")/run.lock"
  flock -w 600 9 || die "another up.sh or down.sh has been at work for ten minutes"
  another_runs && die "the cluster $(cat "$RUN/up") is up; run down.sh first"
  if healthy; then
    say "already up"
  else
    KOTOBA_LOCKED=1 "$HERE/down.sh"
    bring_up
  fi
  printf '%s\n' "$KUBECONFIG"
}

another_runs() { [ -f "$RUN/up" ] && [ "$(cat "$RUN/up")" != "$CLUSTER" ] && process_runs kube-apiserver; }

# Up, under this name, with every process alive and every node Ready.
healthy() {
  local name
  [ "$(cat "$RUN/up" 2>/dev/null)" = "$CLUSTER" ] || return 1
  for name in $(recorded_processes '*'); do process_runs "$name" || return 1; done
  kubectl get --raw /readyz --request-timeout=5s >/dev/null 2>&1 || return 1
  kubectl wait --for=condition=Ready --timeout=5s node "${NODES[@]}" >/dev/null 2>&1
}

bring_up() {
  say "starting the cluster $CLUSTER"
  mkdir -p "$RUN"/{pids,logs}
  chmod 700 "$RUN" # it holds the keys of the cluster
  note_what_kubelets_change
  make_network
  make_certificates
  start_containerds
  start_control_plane
  start_router
  start_nodes
  start_addons
  finish_router
  wait_till_nodes_are_ready
  say "all nodes are Ready"
  smoke_test
  printf '%s\n' "$CLUSTER" >"$RUN/up" # written last
  say "the cluster is up"
}

# down.sh puts it back: some kernel settings of the host, and a folder that no option moves below --root-dir.
note_what_kubelets_change() {
  sysctl -e vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops \
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes >"$RUN/kernel-settings" 2>/dev/null || true
  [ -e /var/lib/kubelet ] || : >"$RUN/made-var-lib-kubelet"
}

# Early, and beside the control plane's start: the images must be in place before the first pod.
start_containerds() {
  local i
  for i in "${!NODES[@]}"; do
    configure_node "$i"
    start_containerd "${NODES[i]}"
  done
  "$HERE/load-image.sh" "$PROGRAMS/images/pause.tar" 9>&-
  "$HERE/load-image.sh" "$PROGRAMS/images/helper.tar" 9>&-
}

start_nodes() {
  local i
  for i in "${!NODES[@]}"; do
    start_kubelet "$i"
    start_kube_proxy "${NODES[i]}"
  done
}

main
