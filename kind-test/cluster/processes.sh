# shellcheck shell=bash
# Starts, finds and stops the cluster's processes; sourced, never run.
# Each is recorded in $RUN/pids/NAME as "pid start-time": the start time (of /proc/PID/stat) tells a process of
# ours from a stranger that was given the same number later. Only such processes are ever signalled.

# start_process NAME COMMAND... ; its own session, all output to $RUN/logs/NAME.log, no open file inherited.
start_process() {
  local name=$1
  shift
  setsid "$@" </dev/null >>"$RUN/logs/$name.log" 2>&1 9>&- &
  printf '%s %s\n' "$!" "$(start_time "$!")" >"$RUN/pids/$name"
}

# Field 22 of /proc/PID/stat; the name in field 2 may hold blanks, so count after its closing bracket.
# Fails when there is no such process, or it has ended and only waits to be reaped (Z).
start_time() {
  local stat fields
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] || return 1
  printf '%s\n' "${fields[19]}"
}

process_runs() {
  local pid began
  read -r pid began 2>/dev/null <"$RUN/pids/$1" || return 1
  [ "$(start_time "$pid")" = "$began" ]
}

process_gone() { ! process_runs "$1"; }

# signal_process NAME SIGNAL
signal_process() {
  local pid
  process_runs "$1" || return 0
  read -r pid _ <"$RUN/pids/$1"
  kill "-$2" "$pid" 2>/dev/null || true
}

# stop_processes NAME... ; asks all at once, then kills those that stay longer than 5 s.
stop_processes() {
  local name end=$((SECONDS + 5))
  for name in "$@"; do signal_process "$name" TERM; done
  for name in "$@"; do
    while process_runs "$name" && ((SECONDS < end)); do sleep 0.05; done
    kill_process "$name"
  done
}

kill_process() {
  signal_process "$1" KILL
  wait_for 10 "$1 to end" process_gone "$1"
  rm -f "$RUN/pids/$1"
}

# Names of all recorded processes whose names match the glob patterns.
recorded_processes() {
  local pattern file
  for pattern in "$@"; do
    for file in "$RUN"/pids/$pattern; do
      [ ! -e "$file" ] || basename "$file"
    done
  done
}
