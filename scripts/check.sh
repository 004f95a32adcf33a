#!/usr/bin/env bash
# The gate before a commit: format, lints, unit tests, generated files. It never writes to the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*" >&2; }

step "format"
cargo fmt --all --check
step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings
step "tests"
cargo test --workspace --locked --lib --bins --test it --test raft --test transaction
# Whole clusters, in one process and in several, one at a time: each has the machine for itself.
step "tests of whole clusters"
cargo test --workspace --locked --test cluster --test process -- --test-threads=1
step "generated files"
scripts/generate.sh --check
if cargo deny --version >/dev/null 2>&1; then
  step "licences and advisories"
  cargo deny check licenses bans sources
else
  echo "cargo-deny is not installed: licences are not checked here" >&2
fi
step "chart"
scripts/check-chart.sh
