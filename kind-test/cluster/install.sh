#!/usr/bin/env bash
# Installs and builds everything that up.sh needs: Debian packages, Kubernetes, etcd, CoreDNS, helm, kubeconform,
# the local-path storage provisioner, and two small images. About ten minutes on two cores the first time.
# Every part is built aside, moved into the cache when whole, and only then stamped with its version: a build that
# was cut off is done again, a part that is there is not. A second run takes well under a second.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in settings say images install/parts install/packages install/kubernetes install/go-programs install/images; do
  # shellcheck source=/dev/null
  . "$HERE/$part.sh"
done

# part name, version, output folder below $PROGRAMS
PARTS="
kubernetes $KUBERNETES_VERSION bin
etcd       $ETCD_VERSION bin
coredns    $COREDNS_VERSION bin
local_path $LOCAL_PATH_VERSION bin
helm       $HELM_VERSION bin
kubeconform $KUBECONFORM_VERSION bin
pause      $PAUSE_IMAGE images
helper     $HELPER_IMAGE images
"

main() {
  need_linux_root
  install_packages
  [ "$(wanted)" != "$(built)" ] || return 0
  mkdir -p "$PROGRAMS/stamps"
  exec 9>"$PROGRAMS/lock"
  flock -w 3600 9 || die "another install.sh has been at work for an hour"
  # A second install.sh waited there, and now finds all parts built.
  command -v go >/dev/null || die "needs Go (1.26 or newer) on the PATH"
  limit_builds
  sweep_half_builds
  while read -r name version folder; do
    [ -z "$name" ] || build_part "$name" "$version" "$folder"
  done <<<"$PARTS"
  wanted >"$PROGRAMS/installed.part"
  mv "$PROGRAMS/installed.part" "$PROGRAMS/installed" # written last
  say "all programs are in $BIN"
}

wanted() { printf '%s\n' "$PARTS"; }
built() { cat "$PROGRAMS/installed" 2>/dev/null || true; }

main "$@"
