#!/usr/bin/env bash
# Prints the path of a program that the checks use (helm, kubeconform, promtool); builds it into the cache where it is missing.
# Needs no root. Ends with 77 where Go is not available, and says so.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings say install/parts install/go-programs; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done

main() {
  local version
  case ${1:-} in
    helm) version=$HELM_VERSION ;;
    kubeconform) version=$KUBECONFORM_VERSION ;;
    promtool) version=$PROMETHEUS_MODULE_VERSION ;;
    *) echo "usage: build-tool.sh helm|kubeconform|promtool" >&2 && exit 2 ;;
  esac
  if ! is_built "$1" "$version"; then
    command -v go >/dev/null || skip "$1 needs Go (1.26 or newer) on the PATH to be built"
    mkdir -p "$PROGRAMS/stamps"
    exec 9>"$PROGRAMS/lock"
    flock -w 3600 9 || die "another build has been at work for an hour"
    limit_builds
    build_part "$1" "$version" bin
  fi
  echo "$BIN/$1"
}

is_built() { [[ -x $BIN/$1 && $(cat "$PROGRAMS/stamps/$1" 2>/dev/null) == "$2" ]]; }

main "$@"
