# shellcheck shell=bash
# Starts etcd, the API server, the controller manager and the scheduler on the host; sourced by up.sh.
# The API server listens on the bridge's address only, all others on loopback. One of each, so no leader election.

start_control_plane() {
  start_etcd
  start_apiserver
  wait_for 90 "the API server" kubectl get --raw /readyz
  say "API server is ready"
  start_controllers
}

# Without fsync: a test's control plane may lose its data with the machine, and is three times faster.
start_etcd() {
  local client=http://127.0.0.1:$ETCD_PORT peer=http://127.0.0.1:$ETCD_PEER_PORT
  start_process etcd "$BIN/etcd" --name=kotoba --data-dir="$RUN/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls="$client" --advertise-client-urls="$client" \
    --listen-peer-urls="$peer" --initial-advertise-peer-urls="$peer" --initial-cluster="kotoba=$peer"
}

start_apiserver() {
  start_process kube-apiserver "$BIN/kube-apiserver" \
    --bind-address="$HOST_IP" --advertise-address="$HOST_IP" --secure-port="$API_PORT" \
    --etcd-servers="http://127.0.0.1:$ETCD_PORT" --service-cluster-ip-range="$SERVICE_CIDR" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --client-ca-file="$CERTS/ca.crt" \
    --tls-cert-file="$CERTS/apiserver.crt" --tls-private-key-file="$CERTS/apiserver.key" \
    --kubelet-client-certificate="$CERTS/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$CERTS/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$CERTS/service-accounts.key" \
    --service-account-signing-key-file="$CERTS/service-accounts.key"
}

start_controllers() {
  start_process kube-controller-manager "$BIN/kube-controller-manager" --bind-address=127.0.0.1 --leader-elect=false \
    --kubeconfig="$CERTS/controller-manager.kubeconfig" --use-service-account-credentials=true \
    --service-account-private-key-file="$CERTS/service-accounts.key" --root-ca-file="$CERTS/ca.crt" \
    --cluster-signing-cert-file="$CERTS/ca.crt" --cluster-signing-key-file="$CERTS/ca.key" \
    --node-monitor-grace-period=20s
  start_process kube-scheduler "$BIN/kube-scheduler" --bind-address=127.0.0.1 --leader-elect=false \
    --kubeconfig="$CERTS/scheduler.kubeconfig"
}
