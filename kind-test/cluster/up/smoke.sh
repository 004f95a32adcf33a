# shellcheck shell=bash
# Proves that the cluster is whole before anybody builds on it; sourced by up.sh.
# A pod on every node must start and resolve a service name through the cluster's DNS.

wait_till_nodes_are_ready() {
  wait_for 120 "three nodes to register" three_nodes_registered
  kubectl wait --for=condition=Ready --timeout=120s node "${NODES[@]}" >&2 || die "a node did not become Ready; see $RUN/logs"
}

three_nodes_registered() { kubectl get node "${NODES[@]}"; }

smoke_test() {
  local i pods=("${NODES[@]/#/smoke-}")
  wait_for 60 "the default service account" kubectl get serviceaccount default
  for i in "${!NODES[@]}"; do smoke_pod "${NODES[i]}" | kubectl apply -f - >&2; done
  kubectl wait pod "${pods[@]}" --for=jsonpath='{.status.phase}'=Succeeded --timeout=120s >&2 || {
    kubectl describe pod "${pods[@]}" >&2
    die "a pod could not run or could not resolve a name"
  }
  kubectl delete pod "${pods[@]}" --grace-period=0 --wait=false >&2
}

# A name that exists is asked for till it is found: DNS may start after the pod.
smoke_pod() {
  cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: smoke-$1}
spec:
  nodeName: $1
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: smoke
    image: $HELPER_IMAGE
    imagePullPolicy: Never
    command: [sh, -c, "for i in \$(seq 60); do nslookup kubernetes.default.svc.cluster.local && exit 0; sleep 1; done; exit 1"]
YAML
}
