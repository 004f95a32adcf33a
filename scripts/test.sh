#!/usr/bin/env bash
# Everything, on a fresh machine too: the checks, the release build, and the end-to-end tests on a real Kubernetes.
#
# Where a Kubernetes can be had neither by Docker and kind nor by root, that part alone is skipped, and said so at the end.
# KOTOBA_KEEP=1 leaves the Kubernetes running. What `make up` has left is used, and left as it was.
set -euo pipefail
cd "$(dirname "$0")/.."

skip_code=77
phases=()

# phase NAME COMMAND... : runs it, notes how long it took; its exit code is the phase's.
phase() {
  local name=$1 began=$SECONDS code=0
  shift
  printf '\n==== %s\n' "$name"
  "$@" || code=$?
  phases+=("$(printf '%-12s %4d s  %s' "$name" $((SECONDS - began)) "$(result "$code")")")
  return "$code"
}

result() {
  case $1 in
    0) echo ok ;;
    "$skip_code") echo "SKIPPED: no Kubernetes on this machine" ;;
    *) echo "FAILED ($1)" ;;
  esac
}

report() {
  printf '\n==== time\n'
  printf '  %s\n' "${phases[@]}"
  printf '  %-12s %4d s\n' "all together" "$SECONDS"
}
trap report EXIT

phase "checks" scripts/check.sh
phase "build" scripts/build-release.sh bin
kubernetes=0
phase "kubernetes" cargo run --quiet --locked --bin kind-test -- run || kubernetes=$?
if [[ $kubernetes == "$skip_code" ]]; then
  printf '\n!!!! The end-to-end tests on Kubernetes were SKIPPED on this machine; everything else passed.\n'
  exit 0
fi
exit "$kubernetes"
