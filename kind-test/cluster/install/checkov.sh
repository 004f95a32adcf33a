# shellcheck shell=bash
# Installs checkov from its Python package, with what it needs, into a folder of its own; sourced by build-tool.sh.

# build_checkov OUT_DIR: the folder `checkov`, and `run-checkov` beside it.
build_checkov() {
  python3 -m pip install --quiet --disable-pip-version-check --target "$1/checkov" "checkov==$CHECKOV_VERSION"
  cat >"$1/run-checkov" <<'SH'
#!/bin/sh
PYTHONPATH=$(dirname "$0")/checkov exec python3 -m checkov.main "$@"
SH
  chmod +x "$1/run-checkov"
  rm -rf "$PROGRAMS/python/checkov"
}
