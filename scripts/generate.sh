#!/usr/bin/env bash
# Writes the generated files (the CRD, the table of settings), or with --check says which differ from what the code gives.
set -euo pipefail
cd "$(dirname "$0")/.."

crd=crds/kotobaclusters.yaml
settings=docs/settings.md
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
cargo run --quiet --locked -p kotoba-operator -- crd > "$fresh/crd"
cargo run --quiet --locked -p kotoba-node --bin kotoba -- config --table > "$fresh/settings"

# same FILE FRESH
same() { diff -u "$1" "$fresh/$2" || { echo "$1 is not what the code gives: run 'make fix'" >&2; exit 1; }; }

if [[ "${1:-}" == --check ]]; then
  same "$crd" crd
  same charts/kotoba-operator/crds-source/kotobaclusters.yaml crd
  same "$settings" settings
else
  mkdir -p charts/kotoba-operator/crds-source
  cp "$fresh/crd" "$crd"
  cp "$fresh/crd" charts/kotoba-operator/crds-source/kotobaclusters.yaml
  cp "$fresh/settings" "$settings"
fi
