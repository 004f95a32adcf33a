# shellcheck shell=bash
# What every script says and how it gives up; sourced, never run.
# Progress goes to stderr, with the seconds since the script began, so that stdout stays free for results.
# Exit code 77 means "cannot be done on this machine": callers skip then.

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

skip() {
  printf '%s: skipped: %s\n' "${0##*/}" "$*" >&2
  exit 77
}

need_linux_root() {
  [ "$(uname -s)" = Linux ] || skip "needs Linux (network namespaces), this is $(uname -s)"
  [ "$(id -u)" = 0 ] || skip "needs root (network namespaces, mounts, cgroups)"
}

# wait_for SECONDS WHAT COMMAND... : runs COMMAND till it succeeds; dies after SECONDS.
wait_for() {
  local limit=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "gave up after ${limit}s waiting for $what"
    sleep 0.2
  done
}
