# shellcheck shell=bash
# Builds one image with buildah, without a registry, a daemon or the user's own image storage; sourced, never run.

# archive_image TAG DOCKERFILE CONTEXT OUT_TAR [EXTRA bud ARGUMENTS...]
archive_image() {
  local tag=$1 dockerfile=$2 context=$3 out=$4 storage
  shift 4
  storage=$(mktemp -d "${TMPDIR:-/tmp}/kotoba-image.XXXXXX")
  local buildah=(buildah --storage-driver vfs --root "$storage/root" --runroot "$storage/runroot")
  rm -f "$out.part"
  if "${buildah[@]}" bud --isolation chroot --pull-never "$@" -t "$tag" -f "$dockerfile" "$context" >"$storage/log" 2>&1 &&
    "${buildah[@]}" push "$tag" "docker-archive:$out.part:$tag" >>"$storage/log" 2>&1; then
    mv "$out.part" "$out"
    rm -rf "$storage"
  else
    tail -n 30 "$storage/log" >&2
    rm -rf "$storage" "$out.part"
    die "could not build image $tag"
  fi
}
