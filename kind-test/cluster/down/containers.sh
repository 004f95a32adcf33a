# shellcheck shell=bash
# Ends what runs in the cluster's pods; sourced by down.sh.
# Containers are found by the nodes' own cgroups, shims by the socket of our containerd on their command line.

kill_containers() {
  local end=$((SECONDS + 20)) pids
  while pids=$(container_pids) && [ -n "$pids" ]; do
    ((SECONDS < end)) || die "containers do not end: $pids"
    # shellcheck disable=SC2086 # a list
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
}

container_pids() {
  local node
  for node in "${NODES[@]}"; do
    [ ! -d "/sys/fs/cgroup/pids/$node" ] || find "/sys/fs/cgroup/pids/$node" -name cgroup.procs -exec cat {} +
  done | sort -u
}

kill_shims() {
  local end=$((SECONDS + 20)) pids
  while pids=$(shim_pids) && [ -n "$pids" ]; do
    ((SECONDS < end)) || die "shims do not end: $pids"
    # shellcheck disable=SC2086 # a list
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
}

# A shim's command line names the socket of the containerd that started it.
shim_pids() {
  local pid words
  for pid in $(pgrep -f '^[^ ]*containerd-shim' || true); do
    words=$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null) || continue
    ! grep -qxE "$(our_sockets)" <<<"$words" || printf '%s\n' "$pid"
  done
}

our_sockets() { printf '%s/(%s)/containerd[.]sock' "${RUN//./[.]}" "$(IFS='|' && echo "${NODES[*]}")"; }
