# shellcheck shell=bash
# Starts the kube-proxy through which the host reaches service addresses, in a namespace of its own; sourced by up.sh.
# A kube-proxy asks for its node's addresses and waits 30 s if there is none. The router is no node, so it is shown
# one that can take no pod, and that is gone again before anybody uses the cluster.

start_router() {
  kubectl apply -f - >&2 <<YAML
apiVersion: v1
kind: Node
metadata: {name: $ROUTER}
spec: {unschedulable: true}
YAML
  kubectl patch node "$ROUTER" --subresource=status \
    -p "{\"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"$ROUTER_IP\"}]}}" >&2
  mkdir -p "$RUN/$ROUTER"
  write_kube_proxy_config "$ROUTER" "$RUN/$ROUTER/kube-proxy.yaml"
  start_kube_proxy "$ROUTER"
}

finish_router() {
  wait_for 60 "a service address to answer the host" host_reaches_services
  kubectl delete node "$ROUTER" >&2
}

host_reaches_services() { timeout 2 bash -c "</dev/tcp/$API_SERVICE_IP/443"; }
