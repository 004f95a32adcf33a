#!/usr/bin/env bash
# Prints the path of a program that the checks or the measurements use (helm, kubeconform, kube-score, checkov, promtool, etcd), or
# of the folder of schemas that kubeconform reads; builds it into the cache where it is missing.
# Needs no root. Ends with 77 where Go, or for checkov Python's venv, is not available, and says so.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings say install/parts install/go-programs install/checkov install/schemas; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done

main() {
  local version folder=bin path=$BIN/${1:-}
  case ${1:-} in
    checkov) version=$CHECKOV_VERSION folder=python path=$PROGRAMS/python/run-checkov ;;
    etcd) version=$ETCD_VERSION ;;
    helm) version=$HELM_VERSION ;;
    kubeconform) version=$KUBECONFORM_VERSION ;;
    kube-score) version=$KUBE_SCORE_VERSION ;;
    schemas) version=$KUBERNETES_VERSION+$PROMETHEUS_OPERATOR_VERSION folder=schemas path=$SCHEMAS ;;
    promtool) version=$PROMETHEUS_MODULE_VERSION ;;
    *) echo "usage: build-tool.sh checkov|etcd|helm|kubeconform|kube-score|promtool|schemas" >&2 && exit 2 ;;
  esac
  if ! is_built "$path" "$1" "$version"; then
    if [[ $1 == checkov ]]; then
      python3 -c 'import ensurepip, venv' 2>/dev/null || skip "checkov needs python3 with venv and pip"
    else
      command -v go >/dev/null || skip "$1 needs Go (1.26 or newer) on the PATH to be built"
    fi
    [[ $1 != schemas ]] || command -v jq >/dev/null || skip "the schemas need jq to be made"
    mkdir -p "$PROGRAMS/stamps"
    exec 9>"$PROGRAMS/lock"
    flock -w 3600 9 || die "another build has been at work for an hour"
    limit_builds
    build_part "$1" "$version" "$folder"
  fi
  echo "$path"
}

# is_built PATH NAME VERSION
is_built() { [[ -x $1 && $(cat "$PROGRAMS/stamps/$2" 2>/dev/null) == "$3" ]]; }

main "$@"
