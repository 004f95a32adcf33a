#!/usr/bin/env bash
# Lints the chart and checks what it renders: with helm, and with kubeconform where that is there.
set -euo pipefail
cd "$(dirname "$0")/.."
tool() { command -v "$1" || kind-test/cluster/tool.sh "$1" 2>/dev/null; }

chart=charts/kotoba-operator
helm=$(tool helm) || { echo "helm is neither installed nor built: the chart is not checked here" >&2; exit 0; }
"$helm" lint --quiet --strict "$chart"
rendered=$("$helm" template check "$chart")
echo "$rendered" | grep -q '^kind: Deployment' || { echo "the chart renders no Deployment" >&2; exit 1; }
"$helm" template check "$chart" --set 'watchNamespaces={a,b}' >/dev/null
