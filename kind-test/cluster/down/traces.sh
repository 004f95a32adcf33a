# shellcheck shell=bash
# Removes what the ended processes leave: mounts, network, cgroups, files; sourced by down.sh.

# Those below the run folder, the innermost first.
remove_mounts() {
  local folder mount
  [ -d "$RUN" ] || return 0
  folder=$(realpath "$RUN")
  while read -r mount; do
    umount "$mount" 2>/dev/null || umount --lazy "$mount" 2>/dev/null || say "cannot unmount $mount"
  done < <(awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac)
}

# A namespace takes its interfaces, routes and iptables rules with it, the bridge the host's routes.
remove_network() {
  local namespace
  for namespace in "$ROUTER" "${NODES[@]}"; do
    ip link del "veth-$namespace" 2>/dev/null || true
    [ ! -e "/run/netns/$namespace" ] || ip netns del "$namespace"
  done
  ip link del "$BRIDGE" 2>/dev/null || true
}

# A cgroup stays busy for a moment after its last process.
remove_cgroups() {
  local node
  for node in "${NODES[@]}"; do wait_for 10 "the cgroups of $node to empty" remove_cgroup "$node"; done
}

remove_cgroup() {
  local top left=0
  for top in /sys/fs/cgroup/*/"$1"; do
    [ -d "$top" ] || continue
    find "$top" -depth -type d -exec rmdir {} + || left=1
  done
  return "$left"
}

remove_files() {
  remove_container_traces
  remove_log_links
  [ ! -s "$RUN/kernel-settings" ] || sysctl -qe -p "$RUN/kernel-settings" >/dev/null 2>&1 || true
  [ ! -e "$RUN/made-var-lib-kubelet" ] || rm -rf --one-file-system /var/lib/kubelet
  rm -rf --one-file-system "$RUN"
}

# Two things of each pod are kept outside of our folders: the sockets of its shims (the containers' folders name them)
# and what the network plugins gave it (named after its sandbox).
remove_container_traces() {
  local trace
  for trace in "$RUN"/*/containerd/state/io.containerd.runtime.v2.task/*/*/address; do
    [ ! -f "$trace" ] || rm -f "$(sed 's|^unix://||' "$trace")"
  done
  for trace in "$RUN"/*/containerd/root/io.containerd.grpc.v1.cri/sandboxes/*; do
    rm -f /var/lib/cni/results/*-"${trace##*/}"-*
  done
}

# The kubelet links every container's log into this folder, whatever podLogsDir says.
remove_log_links() {
  local link
  for link in /var/log/containers/*.log; do
    case $(readlink "$link" 2>/dev/null) in "$RUN"/*) rm -f "$link" ;; esac
  done
}
