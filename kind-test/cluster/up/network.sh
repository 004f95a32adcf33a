# shellcheck shell=bash
# Makes the cluster's network: a bridge on the host, one namespace per node, and the namespace $ROUTER; sourced by up.sh.
# The router holds a kube-proxy of its own, through which the host (and so the API server, for webhooks) reaches
# service addresses whichever node is lost. Nothing is written into the host's own iptables.

make_network() {
  local i
  addresses_are_free
  ip link add "$BRIDGE" type bridge
  ip addr add "$HOST_IP/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  make_namespace "$ROUTER" "$ROUTER_IP"
  for i in "${!NODES[@]}"; do make_namespace "${NODES[i]}" "$(node_ip "$i")"; done
  make_pod_routes
  ip route replace "$SERVICE_CIDR" via "$ROUTER_IP" dev "$BRIDGE"
}

addresses_are_free() {
  local range
  for range in "$NODE_CIDR" "$POD_CIDR" "$SERVICE_CIDR"; do
    [ -z "$(ip route show root "$range")" ] || die "this machine uses addresses of $range; change them in settings.sh"
  done
}

node_ip() { printf '%s.%d\n' "$NODE_NET" $((11 + $1)); }
pod_cidr() { printf '%s.%d.0/24\n' "$POD_NET" $((1 + $1)); }

# make_namespace NAME ADDRESS : the host's end of its cable is called veth-NAME.
make_namespace() {
  ip netns add "$1"
  ip link add "veth-$1" type veth peer name eth0 netns "$1"
  ip link set "veth-$1" master "$BRIDGE" up
  ip -n "$1" link set lo up
  ip -n "$1" addr add "$2/24" dev eth0
  ip -n "$1" link set eth0 up
  ip -n "$1" route add default via "$HOST_IP"
  nsenter --net="/run/netns/$1" sysctl -qw net.ipv4.ip_forward=1
}

# Every node's pods, from the host, the router and the other nodes.
make_pod_routes() {
  local i namespace
  for i in "${!NODES[@]}"; do
    ip route replace "$(pod_cidr "$i")" via "$(node_ip "$i")" dev "$BRIDGE"
    for namespace in "$ROUTER" "${NODES[@]}"; do
      [ "$namespace" = "${NODES[i]}" ] || ip -n "$namespace" route add "$(pod_cidr "$i")" via "$(node_ip "$i")"
    done
  done
}
