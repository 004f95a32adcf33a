# shellcheck shell=bash
# Builds one part into the cache: aside, then moved there when whole, then stamped; sourced by install.sh and build-tool.sh.

# Two cores are shared with whoever else works on the machine.
limit_builds() {
  export CGO_ENABLED=0
  GOMAXPROCS=$(nproc)
  GOFLAGS="${GOFLAGS:-} -p=$GOMAXPROCS"
  export GOMAXPROCS GOFLAGS
  renice -n 5 -p $$ >/dev/null 2>&1 || true
}

sweep_half_builds() { rm -rf "$PROGRAMS"/{module,image,part}.*; }

# build_part NAME VERSION FOLDER
build_part() {
  local stamp=$PROGRAMS/stamps/$1 began=$SECONDS out
  [ "$(cat "$stamp" 2>/dev/null || true)" != "$2" ] || return 0
  say "building $1 $2 ..."
  rm -f "$stamp"
  out=$(mktemp -d "$PROGRAMS/part.XXXXXX")
  "build_$1" "$out" >&2
  mkdir -p "$PROGRAMS/$3"
  mv -f "$out"/* "$PROGRAMS/$3/"
  rmdir "$out"
  printf '%s\n' "$2" >"$stamp"
  say "built $1 $2 in $((SECONDS - began))s"
}
