# shellcheck shell=bash
# Builds the two images that the cluster itself needs, from what the machine has (nothing can be pulled); sourced by install.sh.
# pause: holds a pod's namespaces. helper: a static busybox (sh, mkdir, rm, nc, nslookup) for the storage
# provisioner's helper pods, the smoke test, and whoever wants a shell in a test.

# Both take OUT_DIR and leave a docker-archive there.
build_pause() {
  local root
  root=$(mktemp -d "$PROGRAMS/image.XXXXXX")
  cc -Os -static -s -o "$root/pause" "$HERE/install/pause.c"
  printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n' >"$root.Dockerfile"
  archive_image "$PAUSE_IMAGE" "$root.Dockerfile" "$root" "$1/pause.tar"
  rm -rf "$root" "$root.Dockerfile"
}

build_helper() {
  local root applet
  root=$(mktemp -d "$PROGRAMS/image.XXXXXX")
  mkdir -p "$root/bin" "$root/tmp"
  chmod 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  printf 'FROM scratch\nCOPY . /\nENV PATH=/bin\nCMD ["sh"]\n' >"$root.Dockerfile"
  archive_image "$HELPER_IMAGE" "$root.Dockerfile" "$root" "$1/helper.tar"
  rm -rf "$root" "$root.Dockerfile"
}
