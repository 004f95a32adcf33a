# shellcheck shell=bash
# Starts what every cluster has beside its control plane: DNS and storage, both as processes of the host; sourced by up.sh.
# CoreDNS answers on the bridge's address, to which the service kube-dns points. The local-path provisioner gives
# each node a folder of its own, though all three share one disk.

start_addons() {
  start_coredns
  start_local_path
}

start_coredns() {
  cat >"$RUN/Corefile" <<COREFILE
.:53 {
  bind $HOST_IP
  errors
  ready $HOST_IP:$DNS_READY_PORT
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $CERTS/coredns.kubeconfig
    pods insecure
    ttl 5
  }
}
COREFILE
  fill_in "$HERE/up/dns.yaml" | kubectl apply -f - >&2
  start_process coredns "$BIN/coredns" -conf "$RUN/Corefile"
}

start_local_path() {
  mkdir -p "$RUN/local-path"
  local_path_config >"$RUN/local-path/config.json"
  fill_in "$HERE/up/storage.yaml" | kubectl apply -f - >&2
  start_process local-path "$BIN/local-path-provisioner" start --config="$RUN/local-path/config.json" \
    --kubeconfig="$CERTS/local-path.kubeconfig" --helper-image="$HELPER_IMAGE"
}

local_path_config() {
  local node
  for node in "${NODES[@]}"; do printf '%s %s\n' "$node" "$RUN/$node/volumes"; done |
    jq -Rn '{nodePathMap: [inputs | split(" ") | {node: .[0], paths: [.[1:] | join(" ")]}]}'
}

# Replaces the three settings that the manifests name.
fill_in() {
  sed -e "s|@DNS_SERVICE_IP@|$DNS_SERVICE_IP|" -e "s|@HOST_IP@|$HOST_IP|" -e "s|@HELPER_IMAGE@|$HELPER_IMAGE|" "$1"
}
