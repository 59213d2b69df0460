# shellcheck shell=bash
# What the handler, the sampler and the entrypoint share: settings, the CLI under a time-out, logs, locks.
#
# Sourced, never run. Nothing here reads a request.

export LC_ALL=C TZ=UTC

: "${SIDECAR_BIND:=127.0.0.1}"
: "${SIDECAR_PORT:=8765}"
: "${SIDECAR_TOKEN_FILE:=}"
: "${SIDECAR_ALLOWED_HOSTS:=}"
: "${SIDECAR_DEBUG:=on}"
: "${SIDECAR_LOG:=}"
: "${SIDECAR_RUN_DIR:=}"
: "${TAILSCALE_BIN:=tailscale}"
: "${TS_SOCKET:=}"
: "${SAMPLE_HOSTS:=}"
: "${SAMPLE_INTERVAL:=60}"
: "${JOURNAL_DIR:=/var/lib/tsobs-sidecar}"
: "${JOURNAL_RETENTION_DAYS:=30}"

# Set by entrypoint.sh: `ok`, or why curl can't ask the LocalAPI.
: "${SIDECAR_CURL:=}"

# The smallest SAMPLE_INTERVAL: a dead node takes two time-outs of a round. Only tests set less.
: "${SIDECAR_SHORTEST_INTERVAL:=10}"

# Seconds a CLI call may take, where the design gives no other figure.
: "${SIDECAR_CLI_SECONDS:=5}"
# Seconds from accepting a connection to the end of its headers.
: "${SIDECAR_REQUEST_SECONDS:=5}"

# shellcheck disable=SC2034 # used by localapi.sh
readonly PING_SECONDS=2
readonly NETCHECK_SECONDS=20
# shellcheck disable=SC2034 # used by samples.sh and journal.sh
readonly DAY_PATTERN='^[0-9]{4}-[0-9]{2}-[0-9]{2}$'

# What a whole round looks like; a line that a crash tore does not.
# shellcheck disable=SC2034 # used by samples.sh and journal.sh
readonly ROUND_PATTERN='^{"v":[0-9][0-9]*,"at":".*}$'

# is_regular FILE: whether it is a file, and no link, pipe or device that could lead elsewhere or never end.
is_regular() {
  [[ -f $1 && ! -L $1 ]]
}

# now_us NAME: microseconds since the epoch into the variable NAME.
now_us() {
  local -n _now=$1
  _now=${EPOCHREALTIME/./}
}

# json_text NAME TEXT: TEXT as a JSON string into NAME; what is not printable ASCII becomes `?`.
json_text() {
  local -n _json=$1
  local text=${2:0:512}
  text=${text//[^ -~]/?}
  text=${text//\\/\\\\}
  _json="\"${text//\"/\\\"}\""
}

# log LEVEL MESSAGE [MEMBERS]: one JSON line on stderr, or at the end of SIDECAR_LOG. MEMBERS are more members
# of the object, as JSON, starting with a comma.
log() {
  local message stamp us
  now_us us
  printf -v stamp '%(%Y-%m-%dT%H:%M:%S)T.%03dZ' "$((us / 1000000))" "$((us / 1000 % 1000))"
  json_text message "$2"
  local line='{"timestamp":"'$stamp'","level":"'$1'","logger":"sidecar","message":'$message${3:-}'}'
  if [[ -n $SIDECAR_LOG ]] && printf '%s\n' "$line" 2>/dev/null >>"$SIDECAR_LOG"; then
    return
  fi
  printf '%s\n' "$line" >&2
}

# ts SECONDS ARGUMENT…: the Tailscale CLI, ended after SECONDS (exit status 124, or 137 when it had to be
# killed). GOMAXPROCS: such a short process gains nothing from more threads and pays for starting them. It takes
# the place of the subshell that it is called in, which saves a fork: never call it outside of one.
ts() {
  local seconds=$1
  shift
  GOMAXPROCS=1 exec timeout -k 1 "$seconds" "$TAILSCALE_BIN" ${TS_SOCKET:+"--socket=$TS_SOCKET"} "$@"
}

# outcome NAME STATUS: `ok`, `timeout` or `failed` for the exit status of `ts`, into NAME.
outcome() {
  local -n _outcome=$1
  case $2 in
    0) _outcome=ok ;;
    124 | 137 | 143) _outcome=timeout ;;
    *) _outcome=failed ;;
  esac
}

# take_lock NAME SECONDS: hold the lock NAME until this process ends, or fail after SECONDS.
take_lock() {
  local fd
  exec {fd}>>"$SIDECAR_RUN_DIR/$1.lock" || return 1
  flock -n "$fd" && { LOCK_FD=$fd && return; }
  (($2 > 0)) && timeout "$2" flock "$fd" && { LOCK_FD=$fd && return; }
  exec {fd}>&-
  return 1
}

# shared NAME SINCE PRODUCER: the answer of PRODUCER, a function that prints one line of JSON, taken at or after
# SINCE (microseconds); many who ask at once share one call. Sets SHARED to the JSON and returns 0, or returns
# 1 (it failed), 2 (out of time) or 3 (too many are waiting). A failure that ended while we waited is shared too,
# or a queue before a daemon that hangs would wait one time-out each.
shared() {
  local name=$1 since=$2 producer=$3 asked started ended result
  now_us asked
  if ! read_shared "$name" "$since" "$asked"; then
    take_lock "$name" 25 || return 3
    if ! read_shared "$name" "$since" "$asked"; then
      local new=$SIDECAR_RUN_DIR/$name.new
      now_us started
      ("$producer") >"$new"
      outcome result $?
      [[ $result != ok || -s $new ]] || result=failed
      now_us ended
      SHARED_RESULT=failed
      printf '\n%s %s %s\n' "$started" "$ended" "$result" >>"$new" && mv -f "$new" "$SIDECAR_RUN_DIR/$name" &&
        read_shared "$name" 0 0
    fi
    exec {LOCK_FD}>&-
  fi
  case $SHARED_RESULT in
    ok) return 0 ;;
    timeout) return 2 ;;
    *) return 1 ;;
  esac
}

# read_shared NAME SINCE ASKED: what is kept of NAME into SHARED and SHARED_RESULT, if it still counts: an answer
# that was begun since SINCE, or a failure that ended since ASKED.
read_shared() {
  local started ended lines
  [[ -f $SIDECAR_RUN_DIR/$1 ]] || return 1
  mapfile -t lines 2>/dev/null <"$SIDECAR_RUN_DIR/$1" && ((${#lines[@]} > 1)) || return 1
  read -r started ended SHARED_RESULT <<<"${lines[-1]}" || return 1
  # shellcheck disable=SC2034 # for the handler and the sampler
  SHARED=${lines[0]}
  # A clock that was set back leaves answers from the future: they don't count.
  ((ended <= ${EPOCHREALTIME/./})) || return 1
  if [[ $SHARED_RESULT == ok ]]; then
    ((started >= $2))
  else
    ((ended >= $3))
  fi
}

# jq_tailnet ARGUMENT…: jq with the definitions of tailnet.jq; in place of its subshell, like `ts`.
jq_tailnet() {
  exec jq -L "$SIDECAR_DIR" "$@"
}

produce_netcheck() {
  ts "$NETCHECK_SECONDS" netcheck --format=json 2>/dev/null | jq_tailnet -acn 'include "tailnet"; input | netcheck' 2>/dev/null
  first_failure "${PIPESTATUS[@]}"
}

# first_failure STATUS…: the first that is not 0; a time-out before anything that it caused further down.
first_failure() {
  local status
  for status; do
    ((status == 0)) || return "$status"
  done
}
