#!/usr/bin/env bash
# Leaves a real three-node Kubernetes running, with the operator and a sample cluster, for a person to play with.
# The same Kubernetes and the same images as in the tests; running it again updates both. `make down` removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -x bin/kotoba && -x bin/kotoba-operator ]] || scripts/build-release.sh bin
# Not `-p kind-test`: chosen by its name in the workspace it shares what `make test` has compiled.
exec cargo run --quiet --locked --bin kind-test -- up
