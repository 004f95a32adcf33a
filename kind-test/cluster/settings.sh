# shellcheck shell=bash disable=SC2034
# Every number, name and folder that the scripts of this folder share; sourced, never run.
# Set KOTOBA_CACHE to keep programs and the cluster's state elsewhere than in ~/.cache/kotoba.
# Change an address range here when it collides with a network of your machine; nothing else names one.

# --- versions of what install.sh builds
KUBERNETES_VERSION=1.34.4 # the last line whose kubelet accepts cgroup v1 without a switch
ETCD_VERSION=3.6.5
COREDNS_VERSION=1.14.7
HELM_VERSION=3.22.0
KUBECONFORM_VERSION=0.8.0
LOCAL_PATH_VERSION=0.0.30
# --- and of what build-tool.sh builds besides
PROMETHEUS_MODULE_VERSION=0.313.5 # Prometheus 3.13.5
KUBE_SCORE_VERSION=1.20.0
PROMETHEUS_OPERATOR_VERSION=0.85.0
CHECKOV_VERSION=3.3.30

# --- folders
KOTOBA_CACHE=${KOTOBA_CACHE:-$HOME/.cache/kotoba}
PROGRAMS=$KOTOBA_CACHE/k8s/$KUBERNETES_VERSION
BIN=$PROGRAMS/bin
SCHEMAS=$PROGRAMS/schemas # of all kinds of that Kubernetes and two more, as kubeconform looks for them
RUN=$KOTOBA_CACHE/k8s/run

CNI_BIN=/usr/lib/cni # where Debian puts them

# --- the nodes: one network namespace each, in a zone of its own
NODES=(kotoba-1 kotoba-2 kotoba-3)
ZONES=(zone-a zone-b zone-c)
REGION=region-1

# --- addresses: the host end of the bridge is NODE_NET.1, node i is NODE_NET.(10+i), its pods are POD_NET.i.0/24
BRIDGE=kotoba-br0
ROUTER=kotoba-gw # the namespace through which the host reaches services; a name of 10 letters at most, as the nodes'
NODE_NET=10.213.0
NODE_CIDR=10.213.0.0/24
POD_NET=10.214
POD_CIDR=10.214.0.0/16
SERVICE_CIDR=10.215.0.0/16
API_SERVICE_IP=10.215.0.1 # the first of SERVICE_CIDR: Kubernetes gives it to the service "kubernetes"
DNS_SERVICE_IP=10.215.0.10
HOST_IP=$NODE_NET.1
ROUTER_IP=$NODE_NET.2
API_PORT=6443
ETCD_PORT=23790
ETCD_PEER_PORT=23800
DNS_READY_PORT=8181

# --- images of our own (no registry can be reached)
PAUSE_IMAGE=localhost/kotoba-pause:1
HELPER_IMAGE=localhost/kotoba-helper:1
