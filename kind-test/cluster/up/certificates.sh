# shellcheck shell=bash
# Makes the cluster's certificate authority, the certificates of its parts, and a kubeconfig for each; sourced by up.sh.
# They live as long as the run folder, which down.sh removes.

CERTS=$RUN/certs

make_certificates() {
  local node
  mkdir -p "$CERTS"
  make_authority
  make_certificate apiserver /CN=kube-apiserver "$(apiserver_names)"
  make_certificate apiserver-kubelet-client /O=system:masters/CN=apiserver-kubelet-client
  openssl genrsa -out "$CERTS/service-accounts.key" 2048 2>/dev/null
  make_user admin /O=system:masters/CN=kotoba-admin
  make_user controller-manager /CN=system:kube-controller-manager
  make_user scheduler /CN=system:kube-scheduler
  make_user kube-proxy /CN=system:kube-proxy
  make_user coredns /CN=system:coredns
  make_user local-path /CN=system:local-path
  for node in "${NODES[@]}"; do make_user "$node" "/O=system:nodes/CN=system:node:$node"; done
  cp "$CERTS/admin.kubeconfig" "$RUN/kubeconfig"
}

make_authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=kotoba-test-ca \
    -keyout "$CERTS/ca.key" -out "$CERTS/ca.crt" 2>/dev/null
}

apiserver_names() {
  local name names=IP:$HOST_IP,IP:$API_SERVICE_IP,IP:127.0.0.1,DNS:localhost
  for name in kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local; do
    names+=,DNS:$name
  done
  printf '%s\n' "$names"
}

# make_certificate NAME SUBJECT [ALTERNATIVE_NAMES]
make_certificate() {
  local extensions="extendedKeyUsage=clientAuth,serverAuth"
  [ -z "${3:-}" ] || extensions+=$'\n'"subjectAltName=$3"
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" \
    -keyout "$CERTS/$1.key" -out "$CERTS/$1.csr" 2>/dev/null
  openssl x509 -req -in "$CERTS/$1.csr" -CA "$CERTS/ca.crt" -CAkey "$CERTS/ca.key" -CAcreateserial -days 365 \
    -extfile <(printf '%s\n' "$extensions") -out "$CERTS/$1.crt" 2>/dev/null
}

# make_user NAME SUBJECT : a client certificate and $CERTS/NAME.kubeconfig
make_user() {
  make_certificate "$1" "$2"
  cat >"$CERTS/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: $CLUSTER
  cluster: {server: "https://$HOST_IP:$API_PORT", certificate-authority-data: $(encoded ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(encoded "$1.crt"), client-key-data: $(encoded "$1.key")}
contexts:
- name: $CLUSTER
  context: {cluster: $CLUSTER, user: $1}
current-context: $CLUSTER
YAML
}

encoded() { base64 -w0 "$CERTS/$1"; }
