#!/usr/bin/env bash
# Runs the sampler, the HTTP server and the jq that projects for it until one of them ends, then ends the others and
# itself with 1. SIGTERM and SIGINT end them all, and this with 0.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
FROM_DIR=$PWD
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
SIDECAR_DIR=.
# shellcheck source=lib.sh
. ./lib.sh

die() {
  log ERROR "$1"
  exit 1
}

# number NAME LOW HIGH
number() {
  local value=${!1}
  if [[ ! $value =~ ^[0-9]{1,6}$ ]] || ((10#$value < $2 || 10#$value > $3)); then
    die "$1=$value: expected a whole number from $2 to $3"
  fi
  printf -v "$1" %d "$((10#$value))"
}

is_loopback() {
  [[ $1 == localhost || $1 == ::1 || $1 =~ ^127\.[0-9.]+$ ]]
}

# absolute NAME…: paths that are relative to where we were started, made absolute.
absolute() {
  local name
  for name; do
    [[ -z ${!name} || ${!name} == /* ]] || [[ $name == TAILSCALE_BIN && ${!name} != */* ]] || printf -v "$name" "%s/%s" "$FROM_DIR" "${!name}"
  done
}

# is_ipv4 TEXT: whether it is an IPv4 address as the daemon reads it, which has no leading zeros.
is_ipv4() {
  local part
  local -a parts
  [[ $1 =~ ^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$ ]] || return 1
  IFS=. read -ra parts <<<"$1"
  for part in "${parts[@]}"; do
    ((part < 256)) || return 1
  done
}

# is_ipv6 TEXT: whether it is an IPv6 address, in lower case and without an IPv4 part.
is_ipv6() {
  local group='[0-9a-f]{1,4}' left=${1%%::*} right=${1#*::} half
  local -a groups
  [[ ! $1 =~ ^($group:){7}$group$ ]] || return 0
  [[ $1 == *::* ]] || return 1
  for half in "$left" "$right"; do
    [[ -z $half || $half =~ ^$group(:$group)*$ ]] || return 1
  done
  IFS=: read -ra groups <<<"$left${left:+${right:+:}}$right"
  ((${#groups[@]} < 8))
}

# is_tailscale_address ADDRESS: whether it is in the ranges that Tailscale gives to nodes.
is_tailscale_address() {
  [[ ${1,,} != fd7a:115c:a1e0:* ]] || return 0
  [[ $1 =~ ^100\.([0-9]+)\. ]] && ((BASH_REMATCH[1] >= 64 && BASH_REMATCH[1] < 128))
}

# own_place NAME: end where others could put files or links into this directory.
own_place() {
  local mode
  mode=$(stat -L -c %a "${!1}")
  [[ $mode != *[2367] ]] || die "$1=${!1}: others can write to it (mode $mode)"
}

check_sample_hosts() {
  local name
  local -a names
  read -r -d '' -a names <<<"${SAMPLE_HOSTS//[,$'\n']/ }"
  for name in "${names[@]}"; do
    # Anything else of digits and dots may be the name of a machine.
    if [[ $name =~ ^[0-9]+(\.[0-9]+){3}$ || $name == *:* ]]; then
      is_ipv4 "$name" || is_ipv6 "${name,,}" ||
        die "SAMPLE_HOSTS: $name is no IP address: expected 0 to 255 four times, without leading zeros, or an IPv6 address"
      is_tailscale_address "$name" ||
        die "SAMPLE_HOSTS: $name is no address of a node (100.64.0.0/10 or fd7a:115c:a1e0::/48); tailscaled can't ping a machine behind a subnet router: name the router"
    elif [[ $name != '*' ]]; then
      [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$ ]] ||
        die "SAMPLE_HOSTS: $name is neither a host name nor a DNS name nor *"
    fi
  done
}

# check_curl: whether curl can ask the LocalAPI, into SIDECAR_CURL: `ok`, or why it can't.
# shellcheck disable=SC2034 # exported with all SIDECAR_ names
check_curl() {
  local version
  version=$(curl -q --version 2>/dev/null) || version=''
  if [[ -z $version ]]; then
    SIDECAR_CURL='curl is not installed'
  elif [[ $version =~ ^curl\ ([0-9]+)\.([0-9]+) ]] && ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] >= 7075)); then
    SIDECAR_CURL=ok
  else
    SIDECAR_CURL='curl is older than 7.75'
  fi
}

check_settings() {
  local name program mode
  absolute SIDECAR_TOKEN_FILE SIDECAR_LOG SIDECAR_RUN_DIR TAILSCALE_BIN TS_SOCKET JOURNAL_DIR
  number SIDECAR_PORT 1 65535
  number SIDECAR_SHORTEST_INTERVAL 1 10
  number SAMPLE_INTERVAL "$SIDECAR_SHORTEST_INTERVAL" 3600
  number JOURNAL_RETENTION_DAYS 1 3650
  number SIDECAR_CLI_SECONDS 1 60
  number SIDECAR_REQUEST_SECONDS 1 60
  case ${SIDECAR_DEBUG,,} in
    on | true | yes | 1) SIDECAR_DEBUG=on ;;
    off | false | no | 0) SIDECAR_DEBUG=off ;;
    *) die "SIDECAR_DEBUG=$SIDECAR_DEBUG: expected on or off" ;;
  esac
  [[ $SIDECAR_BIND =~ ^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*|localhost)$ ]] ||
    die "SIDECAR_BIND=$SIDECAR_BIND: expected an IP address or localhost"
  check_sample_hosts
  for program in "$TAILSCALE_BIN" socat jq timeout flock awk dd gzip; do
    command -v -- "$program" >/dev/null || die "$program is not installed (or TAILSCALE_BIN is wrong)"
  done
  if [[ -n $SIDECAR_TOKEN_FILE ]]; then
    [[ -f $SIDECAR_TOKEN_FILE && -r $SIDECAR_TOKEN_FILE ]] ||
      die "SIDECAR_TOKEN_FILE=$SIDECAR_TOKEN_FILE: expected a file that this user can read"
    [[ $(head -c 600 -- "$SIDECAR_TOKEN_FILE" 2>/dev/null | tr -d '\0') =~ ^[!-~]{16,512}$ ]] ||
      die "SIDECAR_TOKEN_FILE=$SIDECAR_TOKEN_FILE: expected one line of 16 to 512 characters without blanks"
    mode=$(stat -L -c %a "$SIDECAR_TOKEN_FILE")
    [[ $mode != *[2367] && $mode != *[2367]? ]] ||
      die "SIDECAR_TOKEN_FILE=$SIDECAR_TOKEN_FILE: others can write to it (mode $mode)"
  elif ! is_loopback "$SIDECAR_BIND"; then
    die "SIDECAR_BIND=$SIDECAR_BIND is not loopback: SIDECAR_TOKEN_FILE is required then"
  fi
  (umask 077 && mkdir -p -- "$JOURNAL_DIR" 2>/dev/null)
  [[ -d $JOURNAL_DIR && -w $JOURNAL_DIR ]] ||
    die "JOURNAL_DIR=$JOURNAL_DIR: expected a directory that this user can write to"
  if [[ -n $SIDECAR_LOG ]]; then
    { : >>"$SIDECAR_LOG"; } 2>/dev/null || die "SIDECAR_LOG=$SIDECAR_LOG: can't be written to"
  fi
  own_place JOURNAL_DIR
  [[ ! -e $JOURNAL_DIR/.lock && ! -L $JOURNAL_DIR/.lock ]] || is_regular "$JOURNAL_DIR/.lock" ||
    die "JOURNAL_DIR=$JOURNAL_DIR: .lock is no regular file"
  # Who can open it could hold it.
  (umask 077 && : >>"$JOURNAL_DIR/.lock")
  chmod 0600 "$JOURNAL_DIR/.lock" 2>/dev/null
  exec {only}>>"$JOURNAL_DIR/.lock"
  flock -n "$only" || die "JOURNAL_DIR=$JOURNAL_DIR: another sidecar writes this journal"
}

allow_hosts() {
  local host=$SIDECAR_BIND
  [[ $host != *:* ]] || host="[$host]"
  if [[ -z $SIDECAR_ALLOWED_HOSTS ]]; then
    SIDECAR_ALLOWED_HOSTS="127.0.0.1:$SIDECAR_PORT localhost:$SIDECAR_PORT [::1]:$SIDECAR_PORT"
    case $SIDECAR_BIND in
      0.0.0.0 | ::) ;;
      *) SIDECAR_ALLOWED_HOSTS+=" $host:$SIDECAR_PORT" ;;
    esac
  fi
  SIDECAR_ALLOWED_HOSTS=${SIDECAR_ALLOWED_HOSTS,,}
}

# end_parts: end what is left of both, with everything they started.
end_parts() {
  local part
  for part in "${PARTS[@]}"; do
    kill -TERM -- "-$part" 2>/dev/null
  done
  for part in "${PARTS[@]}"; do
    wait "$part" 2>/dev/null
  done
  for part in "${PARTS[@]}"; do
    kill -KILL -- "-$part" 2>/dev/null
  done
  [[ $OWN_RUN_DIR == no ]] || rm -rf -- "$SIDECAR_RUN_DIR"
}

check_settings
check_curl
allow_hosts

OWN_RUN_DIR=no
if [[ -z $SIDECAR_RUN_DIR ]]; then
  SIDECAR_RUN_DIR=$(mktemp -d -t tsobs-sidecar.XXXXXX) || die 'no directory for temporary files (TMPDIR)'
  OWN_RUN_DIR=yes
fi
umask 077
mkdir -p -- "$SIDECAR_RUN_DIR" 2>/dev/null
[[ -d $SIDECAR_RUN_DIR && -w $SIDECAR_RUN_DIR ]] ||
  die "SIDECAR_RUN_DIR=$SIDECAR_RUN_DIR: expected a directory that this user can write to"
own_place SIDECAR_RUN_DIR

for name in "${!SIDECAR_@}" TAILSCALE_BIN TS_SOCKET SAMPLE_HOSTS SAMPLE_INTERVAL JOURNAL_DIR JOURNAL_RETENTION_DAYS; do
  export "${name?}"
done
# These would change what bash does at its start.
unset BASH_ENV ENV CDPATH

PARTS=() ENDED=''
trap 'ENDED=signal' TERM INT HUP

# Nobody else holds the writing end: the sampler sees its end as soon as this process is gone, even by SIGKILL.
ALIVE=$SIDECAR_RUN_DIR/alive
rm -f -- "$ALIVE" "$SIDECAR_RUN_DIR"/{questions,answers}
mkfifo -- "$ALIVE" "$SIDECAR_RUN_DIR"/{questions,answers} || die "SIDECAR_RUN_DIR=$SIDECAR_RUN_DIR: no named pipe can be made there"
exec 9<>"$ALIVE"

# Each part in a process group of its own, so that it ends with all that it started.
set -m
family=TCP4 address=$SIDECAR_BIND
[[ $SIDECAR_BIND != *:* ]] || family=TCP6 address="[$SIDECAR_BIND]"
socat "$family-LISTEN:$SIDECAR_PORT,bind=$address,reuseaddr,fork,max-children=256,backlog=256" \
  EXEC:./tailscale-http-server.sh,nofork 9>&- &
PARTS+=($!)
jq -L "$SIDECAR_DIR" -Rnr --unbuffered 'include "tailnet"; serve_answers' \
  <>"$SIDECAR_RUN_DIR/questions" 1<>"$SIDECAR_RUN_DIR/answers" 9>&- &
PARTS+=($!)
HTTP_GROUP=${PARTS[0]} PROJECTOR_GROUP=$! bash ./sampler.sh 9>&- &
PARTS+=($!)
set +m
log INFO "serving on $SIDECAR_BIND:$SIDECAR_PORT, a round each $SAMPLE_INTERVAL s to $JOURNAL_DIR"

# bash would say in its own words, between the lines of the log, that a part was killed.
{
  wait -n "${PARTS[@]}"
  status=$?
} 2>/dev/null
if [[ $ENDED == signal ]]; then
  end_parts
  log INFO 'ended by a signal'
  exit 0
fi
name='the sampler'
kill -0 "${PARTS[0]}" 2>/dev/null || name='the HTTP server'
kill -0 "${PARTS[1]}" 2>/dev/null || name='the projector'
log ERROR "$name ended with status $status: ending the others"
end_parts
exit 1
