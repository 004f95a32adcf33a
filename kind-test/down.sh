#!/usr/bin/env bash
# Removes the Kubernetes that up.sh left, with all that is in it. What was built stays in the cache.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --quiet --locked --bin kind-test -- down
