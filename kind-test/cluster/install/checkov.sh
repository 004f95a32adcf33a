# shellcheck shell=bash
# Installs checkov from its Python package, with what it needs, into an environment of its own; sourced by build-tool.sh.

# build_checkov OUT_DIR: the environment `checkov`, which may be moved, and `run-checkov` beside it.
build_checkov() {
  python3 -m venv "$1/checkov"
  "$1/checkov/bin/python" -m pip install --quiet --disable-pip-version-check "checkov==$CHECKOV_VERSION"
  cat >"$1/run-checkov" <<'SH'
#!/bin/sh
exec "$(dirname "$0")/checkov/bin/python" -m checkov.main "$@"
SH
  chmod +x "$1/run-checkov"
  rm -rf "$PROGRAMS/python/checkov"
}
