#!/usr/bin/env bash
# Writes the generated files (the CRD), or with --check says which differ from what the code gives.
set -euo pipefail
cd "$(dirname "$0")/.."

crd=crds/kotobaclusters.yaml
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
cargo run --quiet --locked -p kotoba-operator -- crd > "$fresh"
if [[ "${1:-}" == --check ]]; then
  diff -u "$crd" "$fresh" || { echo "$crd is not what the code gives: run 'make fix'" >&2; exit 1; }
  diff -u "$crd" charts/kotoba-operator/crds-source/kotobaclusters.yaml ||
    { echo "the chart's copy of the CRD differs: run 'make fix'" >&2; exit 1; }
else
  cp "$fresh" "$crd"
  mkdir -p charts/kotoba-operator/crds-source
  cp "$fresh" charts/kotoba-operator/crds-source/kotobaclusters.yaml
fi
