#!/usr/bin/env bash
# Builds the static release binaries `kotoba`, `kotoba-operator` and the plugin `kubectl-kotoba`, and copies them to a folder if
# one is named.
#
# Static, because the images are made from scratch; one build serves the laptop, the images and the tests.
# The target is named even where it is the host's: only then does crt-static spare the build scripts and macros.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --release --locked --target "$target" -p kotoba-node -p kotoba-operator -p kotoba-kubectl --bins
built="${CARGO_TARGET_DIR:-target}/$target/release"
if [[ $# -gt 0 ]]; then
  mkdir -p "$1"
  install -m 755 "$built/kotoba" "$built/kotoba-operator" "$built/kubectl-kotoba" "$1/"
fi
