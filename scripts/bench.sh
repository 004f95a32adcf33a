#!/usr/bin/env bash
# Measures KotobaDB on this machine, its operations side by side with etcd; writes bench/RESULTS.md and docs/figures. Arguments
# go to the generator: `scripts/bench.sh --help` lists them, `--quick` shows in minutes that all of it works. Measure on a
# machine that does nothing else.
#
# etcd is built from its module where it is missing; without Go only KotobaDB is measured.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/build-release.sh bin
cargo build --release --locked -p kotoba-bench
code=0
etcd=$(kind-test/cluster/build-tool.sh etcd) || code=$?
[[ $code == 0 || $code == 77 ]]
exec "${CARGO_TARGET_DIR:-target}/release/kotoba-bench" ${etcd:+--etcd "$etcd"} "$@"
