# shellcheck shell=bash
# A jq that lives on and answers one question after the other: starting one takes longer than most questions.
#
# Sourced by the sampler. JQ_PROGRAM is what it runs, with `include "tailnet"` and raw lines as its input.

JQ_PID='' JQ_IN='' JQ_OUT=''

# start_jq PROGRAM ARGUMENT…: start it, unless it is running.
start_jq() {
  local program=$1
  shift
  if [[ -n $JQ_PID ]]; then
    kill -0 "$JQ_PID" 2>/dev/null && return
    stop_jq
  fi
  # shellcheck disable=SC2034 # a coprocess has this name
  coproc JQ { exec jq -L "$SIDECAR_DIR" -Rnr --unbuffered "include \"tailnet\"; $program" --args "$@" 2>/dev/null; }
  # Processes that are started from here know a coprocess's own descriptors not.
  exec {JQ_IN}>&"${JQ[1]}" {JQ_OUT}<&"${JQ[0]}"
}

stop_jq() {
  exec {JQ_IN}>&- {JQ_OUT}<&-
  kill "$JQ_PID" 2>/dev/null
  wait "$JQ_PID" 2>/dev/null
  JQ_PID=''
}

# ask_jq LINES QUESTION…: each part of the question as a line to it, and its answer of so many LINES into ANSWER;
# 1 when there is none.
ask_jq() {
  local lines=$1
  shift
  { printf '%s\n' "$@" >&"$JQ_IN"; } 2>/dev/null || return 1
  # bash would read a pipe byte by byte.
  ANSWER=$(timeout "$JQ_SECONDS" head -n "$lines" <&"$JQ_OUT") && [[ -n $ANSWER ]]
}
