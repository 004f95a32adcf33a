#!/usr/bin/env bash
# Lints the chart (helm), checks what it renders against the schemas of our Kubernetes (kubeconform) and against good practice
# (kube-score, checkov); checks its alerts, and the real metrics of a member (promtool).
# Each program is built where it is missing; without Go or Python's venv its part is skipped, and said so.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=charts/kotoba-operator

# Prints the path of a program or of the schemas; nothing where it cannot be had.
tool() {
  local code=0
  [[ $1 != schemas ]] && command -v "$1" || kind-test/cluster/build-tool.sh "$1" || code=$?
  [[ $code == 0 || $code == 77 ]]
}

# For the Kubernetes of our tests: helm alone would guess a version, and leave out what is newer.
render() { "$helm" template check "$chart" --namespace kotoba-system --kube-version "$kubernetes" "$@"; }
kubernetes=$(. kind-test/cluster/settings.sh && echo "$KUBERNETES_VERSION")
# renders KIND RENDERED
renders() { grep -q "^kind: $1\$" <<<"$2" || { echo "the chart renders no $1" >&2; exit 1; }; }

# The renderings that are checked, as arguments of helm: as installed, with everything, with as little as can be.
variants() {
  echo "--include-crds"
  echo "--set watchNamespaces={a,b},monitoring.labels.release=prometheus --set $monitoring"
  echo "--set replicaCount=1,crds.enabled=false,guard.enabled=false,networkPolicy.enabled=false,metrics.service.enabled=false"
}
monitoring=monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true

check_chart() {
  local rendered monitored kind
  "$helm" lint --quiet --strict "$chart"
  rendered=$(render)
  renders Deployment "$rendered"
  renders ValidatingAdmissionPolicy "$rendered"
  monitored=$(render --set "$monitoring")
  for kind in PodMonitor PrometheusRule ConfigMap; do
    renders "$kind" "$monitored"
    ! grep -q "^kind: $kind\$" <<<"$rendered" || { echo "the chart renders a $kind that nobody asked for" >&2; exit 1; }
  done
}

# each_variant COMMAND...: gives it every rendering in turn.
each_variant() {
  local arguments
  while read -r arguments; do
    # shellcheck disable=SC2086 # words on purpose
    render $arguments | "$@" || { echo "$1 refuses the chart rendered with '$arguments'" >&2; exit 1; }
  done < <(variants)
}

# What the operator makes of a cluster, as its tests pin it.
objects() {
  local snapshot
  for snapshot in operator/tests/it/snapshots/*.snap; do
    awk 'heads >= 2; /^---$/ { heads++ }' "$snapshot"
    echo ---
  done
}

valid() {
  "$kubeconform" -strict -schema-location "$schemas/{{.ResourceKind}}{{.KindSuffix}}.json" -
}

check_schemas() {
  each_variant valid
  objects | valid || { echo "kubeconform refuses the objects of a cluster" >&2; exit 1; }
}

# Left out, with the reason:
#   a limit of processor time: it would throttle the renewal of the lease, and a lost lease stops the operator
#   pullPolicy Always: tags of releases do not move, and a registry that is down must not keep the operator from starting
#   several replicas: that is the default, but a person may want one
#   NetworkPolicy: present by default; a person may leave it out
good_practice() {
  "$kube_score" score --output-format ci --ignore-container-cpu-limit --ignore-test container-image-pull-policy "$@" - |
    { ! grep -vE '^\[(OK|SKIPPED)\]'; }
}

check_practice() {
  render | good_practice || { echo "kube-score refuses the chart as it is installed" >&2; exit 1; }
  each_variant good_practice --ignore-test deployment-replicas --ignore-test pod-networkpolicy
  # Of a member's pod the resources are in the person's hand; and where members may dial is not limited.
  objects | good_practice --ignore-test container-resources --ignore-test pod-networkpolicy \
    --ignore-test container-ephemeral-storage-request-and-limit ||
    { echo "kube-score refuses the objects of a cluster" >&2; exit 1; }
}

# Left out, with the reason:
#   CKV_K8S_11, CKV_K8S_15: as above
#   CKV_K8S_43, an image by its digest: a person names the image, and the chart's own is that of its version
#   CKV_K8S_38, a token where it is needed: the operator's is, and that of helm's test
#   CKV_K8S_8, CKV_K8S_9, probes, and CKV2_K8S_6, a NetworkPolicy: helm's test runs for seconds; of all others kube-score
#   asks for them
secure() {
  local folder said
  folder=$(mktemp -d)
  cat >"$folder/rendered.yaml"
  said=$("$checkov" --framework kubernetes --compact --quiet --skip-download --directory "$folder" \
    --skip-check CKV_K8S_11,CKV_K8S_15,CKV_K8S_43,CKV_K8S_38,CKV_K8S_8,CKV_K8S_9,CKV2_K8S_6) || {
    echo "$said" >&2
    rm -rf "$folder"
    return 1
  }
  rm -rf "$folder"
}

check_security() {
  render | secure || { echo "checkov refuses the chart as it is installed" >&2; exit 1; }
  objects | secure || { echo "checkov refuses the objects of a cluster" >&2; exit 1; }
}

check_monitoring() {
  "$promtool" check rules "$chart/monitoring/rules.yaml" >/dev/null
  (cd "$chart/monitoring" && "$promtool" test rules rules.test.yaml) >/dev/null
  KOTOBA_PROMTOOL=$promtool cargo test --quiet --locked -p kotoba-node --test cluster metrics -- --test-threads=1
}

helm=$(tool helm)
kubeconform=$(tool kubeconform)
schemas=$(tool schemas)
kube_score=$(tool kube-score)
promtool=$(tool promtool)
checkov=$(tool checkov)
if [[ $helm ]]; then check_chart; else echo "helm cannot be had: the chart is not checked here" >&2; fi
if [[ $helm && $kubeconform && $schemas ]]; then check_schemas; else echo "kubeconform cannot be had: no schema is checked here" >&2; fi
if [[ $helm && $kube_score ]]; then check_practice; else echo "kube-score cannot be had: good practice is not checked here" >&2; fi
if [[ $helm && $checkov ]]; then check_security; else echo "checkov cannot be had: the security of manifests is not checked by it here" >&2; fi
if [[ $promtool ]]; then check_monitoring; else echo "promtool cannot be had: alerts and metrics are not checked by it here" >&2; fi
