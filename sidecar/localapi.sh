# shellcheck shell=bash
# The daemon asked through its LocalAPI, which is HTTP on its Unix socket, with curl; the CLI, which asks the same
# and takes ten times as long to start, where that can't be done.
#
# Sourced by the handler and the sampler.

readonly API=http://local-tailscaled.sock/localapi/v0
readonly SOCKET=${TS_SOCKET:-/var/run/tailscale/tailscaled.sock}
# The exit status of curl for an answer with an HTTP error: a daemon that does not have this route, or refuses it.
readonly HTTP_ERROR=22

# An answer to a ping, on one line.
readonly ANSWER_PATTERN='^\{ ?"IP": ?"([0-9A-Fa-f.:]+)".*\} ?$'

# Why there is no pong when the daemon answered something else.
readonly UNREADABLE='probe failed: unreadable answer'

# How the daemon is asked, as /healthz shows it.
API_STATE=localapi

# shellcheck disable=SC2034 # API_STATE is for routes.sh
# api_usable: whether the LocalAPI can be asked; API_STATE says why not.
api_usable() {
  if [[ $SIDECAR_CURL != ok ]]; then
    API_STATE="cli: $SIDECAR_CURL"
  elif [[ ! -S $SOCKET ]]; then
    API_STATE="cli: no socket at $SOCKET"
  elif [[ ! -w $SOCKET ]]; then
    API_STATE="cli: no permission to use $SOCKET"
  else
    API_STATE=localapi
    return 0
  fi
  return 1
}

# api SECONDS PATH [OPTION…]: the body of an answer; 124 when there was none in time, or curl's exit status.
api() {
  local seconds=$1 path=$2 status=0
  shift 2
  curl -q -sf -m "$seconds" --noproxy '*' --unix-socket "$SOCKET" "$@" "$API/$path" 2>/dev/null || status=$?
  ((status != 28)) || status=124
  return "$status"
}

# one_line: what it reads without the line ends and tabs that Go lays JSON out with; the status of who wrote it.
one_line() {
  "$@" | tr -d '\n\t'
  return "${PIPESTATUS[0]}"
}

# file_on_one_line FILE: its text in the same way.
file_on_one_line() {
  tr -d '\n\t' <"$1"
}

# raw_status: the daemon's status as it gives it.
raw_status() {
  local status=0
  if api_usable; then
    api "$SIDECAR_CLI_SECONDS" status || status=$?
    ((status == HTTP_ERROR)) || return "$status"
  fi
  (ts "$SIDECAR_CLI_SECONDS" status --json 2>/dev/null)
}

# raw_own_status: the same without the peers.
raw_own_status() {
  local status=0
  if api_usable; then
    api "$SIDECAR_CLI_SECONDS" 'status?peers=false' || status=$?
    ((status == HTTP_ERROR)) || return "$status"
  fi
  (ts "$SIDECAR_CLI_SECONDS" status --json --peers=false 2>/dev/null)
}

# failed_ping ADDRESS REASON: what stands in the place of an answer, into PING.
failed_ping() {
  PING="{\"IP\":\"$1\",\"Err\":\"$2\"}"
}

# ping_failure EXIT HTTP: why curl got no answer, into REASON.
# shellcheck disable=SC2034
ping_failure() {
  case $1 in
    28) REASON="no reply within $PING_SECONDS s" ;;
    "$HTTP_ERROR") REASON="probe failed: HTTP status $2" ;;
    *) REASON="probe failed: curl exit status $1" ;;
  esac
}

# curl_pings SECONDS OPTION… -- ADDRESS…: one ping to each, for SECONDS at most: the answers, and after each a line
# `#NUMBER EXIT HTTP` with its place in the list from 0. For each that failed that line is on stderr as well.
curl_pings() {
  local seconds=$1 mark='#%{urlnum} %{exitcode} %{http_code}\n'
  local -a options=()
  shift
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  printf "url = \"$API/ping?ip=%s&type=disco\"\n" "$@" |
    timeout "$seconds" curl -q -sf --no-progress-meter -m "$PING_SECONDS" --noproxy '*' --unix-socket "$SOCKET" \
      -X POST -w "\\n$mark%{onerror}%{stderr}$mark" "${options[@]}" -K -
}

# ping_once ADDRESS: one ping by the CLI, its answer on one line into PING.
ping_once() {
  local answer status=0
  answer=$(ts "$PING_SECONDS" debug localapi POST "ping?ip=$1&type=disco" 2>/dev/null) || status=$?
  answer=${answer//[$'\n\t\r']/ }
  case $status in
    0)
      PING=${answer:0:3500}
      [[ $PING =~ $ANSWER_PATTERN ]] || failed_ping "$1" "$UNREADABLE"
      ;;
    124 | 137 | 143) failed_ping "$1" "no reply within $PING_SECONDS s" ;;
    *) failed_ping "$1" "probe failed: exit status $status" ;;
  esac
}

# ping_by_cli ADDRESS COUNT: that many of them, the cold one first. One after the other while the peer answers,
# so that each measures the path and not the others; all the rest at once after one without an answer, so that
# a dead peer costs two time-outs and not one for each ping.
ping_by_cli() {
  local left=$2 PING
  while ((left > 0)); do
    ping_once "$1"
    printf '%s\n' "$PING"
    ((--left))
    [[ $PING != *'"Err":"no reply'* ]] || break
  done
  while ((left-- > 0)); do
    { ping_once "$1" && printf '%s\n' "$PING"; } &
  done
  wait
}
