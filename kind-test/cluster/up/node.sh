# shellcheck shell=bash
# Configures and starts one node: containerd, kubelet and kube-proxy in its network namespace; sourced by up.sh and node.sh.
# All its files are below $RUN/NODE. The kubelet puts its pods into the cgroup /NODE.

inside() { nsenter --net="/run/netns/$1" "${@:2}"; }

# configure_node INDEX
configure_node() {
  local node=${NODES[$1]}
  local home=$RUN/$node
  mkdir -p "$home"/{containerd,cni,kubelet,pods-logs,volumes,manifests}
  : >"$home/resolv.conf" # pods with dnsPolicy Default get no name server: there is none to be had
  write_containerd_config "$node" "$home"
  write_cni_config "$node" "$home" "$(pod_cidr "$1")"
  write_kubelet_config "$node" "$home"
  write_kube_proxy_config "$node" "$home/kube-proxy.yaml"
  make_cgroups "$node"
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox would die at its start.
write_containerd_config() {
  cat >"$2/containerd.toml" <<TOML
version = 2
root = "$2/containerd/root"
state = "$2/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "$2/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$2/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$PAUSE_IMAGE"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$CNI_BIN"
conf_dir = "$2/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$2/containerd/runc"
SystemdCgroup = false
TOML
}

# ptp, not bridge: every packet between two pods is routed, so kube-proxy's and a test's iptables rules see it,
# also between two pods of one node, whatever br_netfilter is set to.
write_cni_config() {
  cat >"$2/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "$1", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "$2/cni-addresses",
    "ranges": [[{"subnet": "$3"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
]}
JSON
}

write_kubelet_config() {
  cat >"$2/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$2/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $CERTS/ca.crt}}
authorization: {mode: Webhook}
healthzBindAddress: 127.0.0.1
cgroupDriver: cgroupfs
cgroupRoot: /$1
failSwapOn: false
oomScoreAdj: 0
clusterDNS: ["$DNS_SERVICE_IP"]
clusterDomain: cluster.local
resolvConf: $2/resolv.conf
podLogsDir: $2/pods-logs
volumePluginDir: $2/volume-plugins
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
YAML
}

# write_kube_proxy_config NAME FILE ; conntrack limits belong to the host and cannot be written in a namespace.
write_kube_proxy_config() {
  cat >"$2" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: $1
clientConnection: {kubeconfig: $CERTS/kube-proxy.kubeconfig}
clusterCIDR: $POD_CIDR
detectLocalMode: ClusterCIDR
oomScoreAdj: 0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
iptables: {minSyncPeriod: 100ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s, udpTimeout: 0s, udpStreamTimeout: 0s}
YAML
}

# A cpuset that names no core and no memory takes no process, so it is filled first.
make_cgroups() {
  local controller
  for controller in /sys/fs/cgroup/*/; do
    case $controller in */unified/) continue ;; esac
    [ -e "$controller/cgroup.procs" ] || continue
    mkdir -p "$controller/$1"
    [ -e "$controller/cpuset.cpus" ] || continue
    cat "$controller/cpuset.cpus" >"$controller/$1/cpuset.cpus"
    cat "$controller/cpuset.mems" >"$controller/$1/cpuset.mems"
  done
}

start_containerd() {
  start_process "containerd-$1" nsenter --net="/run/netns/$1" containerd --config "$RUN/$1/containerd.toml"
}

# start_kubelet INDEX
start_kubelet() {
  local node=${NODES[$1]}
  start_process "kubelet-$node" nsenter --net="/run/netns/$node" "$BIN/kubelet" \
    --config="$RUN/$node/kubelet.yaml" --kubeconfig="$CERTS/$node.kubeconfig" \
    --root-dir="$RUN/$node/kubelet" --cert-dir="$RUN/$node/kubelet/pki" \
    --hostname-override="$node" --node-ip="$(node_ip "$1")" \
    --node-labels="topology.kubernetes.io/zone=${ZONES[$1]},topology.kubernetes.io/region=$REGION"
}

# start_kube_proxy NAMESPACE
start_kube_proxy() {
  start_process "kube-proxy-$1" nsenter --net="/run/netns/$1" "$BIN/kube-proxy" --config="$RUN/$1/kube-proxy.yaml"
}
