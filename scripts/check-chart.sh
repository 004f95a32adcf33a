#!/usr/bin/env bash
# Lints the chart and checks what it renders (helm); checks its alerts, and the real metrics of a member (promtool).
# Both programs are built where they are missing; without Go their part is skipped, and said so.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=charts/kotoba-operator

# Prints the path of a program; nothing where it cannot be had.
tool() {
  local code=0
  command -v "$1" || kind-test/cluster/build-tool.sh "$1" || code=$?
  [[ $code == 0 || $code == 77 ]]
}

render() { "$helm" template check "$chart" "$@"; }
# renders KIND RENDERED
renders() { grep -q "^kind: $1\$" <<<"$2" || { echo "the chart renders no $1" >&2; exit 1; }; }

check_chart() {
  local rendered monitored kind
  "$helm" lint --quiet --strict "$chart"
  rendered=$(render)
  renders Deployment "$rendered"
  render --set 'watchNamespaces={a,b}' --set monitoring.podMonitor.enabled=true >/dev/null
  monitored=$(render --set monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboard.enabled=true \
    --set monitoring.labels.release=prometheus)
  for kind in PodMonitor PrometheusRule ConfigMap; do
    renders "$kind" "$monitored"
    ! grep -q "^kind: $kind\$" <<<"$rendered" || { echo "the chart renders a $kind that nobody asked for" >&2; exit 1; }
  done
}

check_monitoring() {
  "$promtool" check rules "$chart/monitoring/rules.yaml" >/dev/null
  (cd "$chart/monitoring" && "$promtool" test rules rules.test.yaml) >/dev/null
  KOTOBA_PROMTOOL=$promtool cargo test --quiet --locked -p kotoba-node --test cluster metrics -- --test-threads=1
}

helm=$(tool helm)
if [[ $helm ]]; then check_chart; else echo "helm cannot be had: the chart is not checked here" >&2; fi
promtool=$(tool promtool)
if [[ $promtool ]]; then check_monitoring; else echo "promtool cannot be had: alerts and metrics are not checked by it here" >&2; fi
