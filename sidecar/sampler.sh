#!/usr/bin/env bash
# Takes one round each SAMPLE_INTERVAL and appends it to the journal: one file for each UTC day, one JSON line
# for each round. Started by entrypoint.sh, which has checked the settings.
#
# A round pings first and reads the status then: a peer's address in use shows only for seconds after traffic.
# The addresses to ping are those of the round before; when the status has others, they are pinged as well and
# the status is read again.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
SIDECAR_DIR=${BASH_SOURCE[0]%/*}
# shellcheck source=lib.sh
. "$SIDECAR_DIR/lib.sh"
# shellcheck source=localapi.sh
. "$SIDECAR_DIR/localapi.sh"
# shellcheck source=journal.sh
. "$SIDECAR_DIR/journal.sh"
# shellcheck source=probe.sh
. "$SIDECAR_DIR/probe.sh"
# shellcheck source=resident_jq.sh
. "$SIDECAR_DIR/resident_jq.sh"

readonly BURST=6 NETCHECK_EVERY=10 NETCHECK_GAP=2 LONGEST_GAP=10 JQ_SECONDS=20 LEAST_PINGS_US=4700000
readonly WORK=$SIDECAR_RUN_DIR/round

TARGETS='' ROUND='' STATE='' REASON='' JOURNAL=ok SLOT=0 NETCHECK='' NETCHECK_SINCE=0 NETCHECK_SLOT=0 PACKING='' WARNED=no
# The nodes that were relayed in the newest round, and in the one before, with spaces around each.
RELAYED=' ' WERE_RELAYED=' '
# The names are arguments of jq, never patterns of bash.
set -f
read -ra NAMES <<<"${SAMPLE_HOSTS//[,$'\n']/ }"
set +f

# ping_targets: a burst to each of the targets that had none yet: those of the names first, then the others.
ping_targets() {
  local -a named others
  read -ra named <<<"${TARGETS%%|*}"
  read -ra others <<<"${TARGETS#*|}"
  probe "${named[@]}"
  probe "${others[@]}"
}

# describe AT STARTED: the journal's line into ROUND, the daemon's state into STATE, the addresses that are relayed
# into RELAYED, and those that should be pinged into TARGETS; or 1 and the reason in REASON.
describe() {
  local raw status=0 result head us whole=false
  raw=$(one_line raw_status) || status=$?
  outcome result "$status"
  case $result in
    timeout) REASON="tailscale status: no answer within $SIDECAR_CLI_SECONDS s" && return 1 ;;
    failed) REASON="tailscale status: exit status $status" && return 1 ;;
  esac
  warn_of_userspace "$raw"
  ((SLOT / SAMPLE_INTERVAL % NETCHECK_EVERY != 0)) || whole=true
  unfinished
  now_us us
  printf -v head '{"at":"%s","interval":%d,"took":%d.%03d,"whole":%s,"unfinished":%s}' "$1" "$SAMPLE_INTERVAL" \
    $(((us - $2) / 1000000)) $(((us - $2) / 1000 % 1000)) "$whole" "$UNFINISHED"
  # shellcheck disable=SC2016
  start_jq 'serve_rounds($ARGS.positional)' "${NAMES[@]}"
  if ! ask_jq 2 "$head" "$PINGS" "$raw"; then
    stop_jq
    REASON='tailscale status: no readable answer'
    return 1
  fi
  STATE=${ANSWER%%$'\t'*} ROUND=${ANSWER#*$'\n'} TARGETS=${ANSWER%%$'\n'*}
  TARGETS=${TARGETS#*$'\t'}
  RELAYED=" ${TARGETS%%$'\t'*} " TARGETS=${TARGETS#*$'\t'}
}

# warn_of_userspace STATUS: say once that the peers of a daemon without a TUN device reach a server on loopback.
warn_of_userspace() {
  [[ $WARNED == no && -z $SIDECAR_TOKEN_FILE ]] || return 0
  # It stands before the peers. No text in it can pose as this: its quotes are escaped.
  [[ ${1:0:4096} =~ [{,]\ *\"TUN\":\ *false ]] || return 0
  WARNED=yes
  log WARNING 'tailscaled runs in userspace mode: every peer that the policy lets in reaches this server, as 127.0.0.1. Set SIDECAR_TOKEN_FILE, or run tailscale set --shields-up'
}

# take_round AT STARTED: the journal's line for the round into ROUND.
take_round() {
  local us
  # What is left of the interval is for the status and for writing. An interval too short for a ping that is not
  # answered is overrun instead, and the rounds that were due meanwhile say so.
  us=$((SAMPLE_INTERVAL * 1000000 - 2000000 - SIDECAR_CLI_SECONDS * 1000000))
  ((us > SAMPLE_INTERVAL * 600000)) || us=$((SAMPLE_INTERVAL * 600000))
  ((us > LEAST_PINGS_US)) || us=$LEAST_PINGS_US
  begin_round "$(($2 + us))"
  ping_targets
  if describe "$1" "$2"; then
    pending || return 0
    ping_targets
    describe "$1" "$2" && return
  fi
  not_taken "$1" "$REASON"
  STATE=Unknown TARGETS=''
}

# pending: whether a target had no ping yet.
pending() {
  local address
  for address in ${TARGETS//|/ }; do
    [[ ${TAKEN[$address]-} ]] || return 0
  done
  return 1
}

# not_taken AT REASON: the line for a round that could not be taken into ROUND.
not_taken() {
  local reason
  json_text reason "$2"
  ROUND='{"v":2,"at":"'$1'","interval":'$SAMPLE_INTERVAL',"daemon":"","state":"Unknown","error":'$reason'}'
}

# newly_relayed: whether a node is relayed that was not in the round before, and the last netcheck is too old to
# say why.
newly_relayed() {
  local address
  ((SLOT - NETCHECK_SLOT >= NETCHECK_GAP * SAMPLE_INTERVAL)) || return 1
  for address in $RELAYED; do
    [[ $WERE_RELAYED == *" $address "* ]] || return 0
  done
  return 1
}

# start_netcheck SINCE: ask for a netcheck beside the round.
start_netcheck() {
  NETCHECK_SINCE=$1 NETCHECK_SLOT=$SLOT
  exec {NETCHECK}< <(shared netcheck "$1" produce_netcheck)
}

# add_netcheck: the answer of the netcheck as a member of ROUND. One that is not done when the round is due to end
# is left to the next round.
add_netcheck() {
  local LEFT status=0
  DEADLINE_US=$((SAMPLE_INTERVAL * 1000000 - 500000))
  ((DEADLINE_US > LEAST_PINGS_US)) || DEADLINE_US=$LEAST_PINGS_US
  ((DEADLINE_US += NETCHECK_SINCE))
  seconds_left || LEFT=0.01
  read -r -t "$LEFT" <&"$NETCHECK" || status=$?
  ((status <= 128)) || return 0
  exec {NETCHECK}<&-
  NETCHECK=''
  if read_shared netcheck "$NETCHECK_SINCE" "$NETCHECK_SINCE" && [[ $SHARED_RESULT == ok ]]; then
    ROUND="${ROUND%\}},\"netcheck\":$SHARED}"
  else
    log WARNING 'netcheck failed'
  fi
}

beat() {
  printf '%s %s\n' "$EPOCHSECONDS" "$JOURNAL" >"$SIDECAR_RUN_DIR/sampler.new" &&
    mv -f "$SIDECAR_RUN_DIR/sampler.new" "$SIDECAR_RUN_DIR/sampler"
}

# note_state BEFORE: a line in the log when the daemon's state changed.
note_state() {
  [[ $STATE != "$1" ]] || return 0
  if [[ $STATE == Running ]]; then
    log INFO 'tailscaled is running'
  else
    log WARNING "tailscaled is not running: ${REASON:-$STATE}"
  fi
}

# wait_for_slot: sleep to the next multiple of the interval and leave it in SLOT, on the clock as it is then.
wait_for_slot() {
  local us next
  now_us us
  next=$(((us / 1000000 / SAMPLE_INTERVAL + 1) * SAMPLE_INTERVAL))
  while now_us us && ((us < next * 1000000)); do
    if ((us < (next - SAMPLE_INTERVAL - 1) * 1000000)); then
      # It was set back.
      next=$(((us / 1000000 / SAMPLE_INTERVAL + 1) * SAMPLE_INTERVAL))
    fi
    us=$((next * 1000000 - us))
    doze "$us"
  done
  SLOT=$next
}

# doze MICROSECONDS: sleep so long. When the entrypoint is gone (see there) end, and the HTTP server with us: two
# samplers must not write one journal.
doze() {
  local left status=0
  printf -v left '%d.%06d' "$(($1 / 1000000))" "$(($1 % 1000000))"
  read -r -t "$left" <&"$ALIVE" || status=$?
  if ((status <= 128)); then
    log ERROR 'the entrypoint is gone: ending'
    kill -TERM -- "-$HTTP_GROUP" "-$PROJECTOR_GROUP" 2>/dev/null
    exit 1
  fi
}

# write_round AT: ROUND to the journal.
write_round() {
  if append "$1" "$ROUND"; then
    JOURNAL=ok
  else
    JOURNAL=failing
  fi
  beat
}

# note_step LAST: a line in the log when SLOT does not follow the slot before.
note_step() {
  if ((SLOT <= $1)); then
    log WARNING 'the clock was set back'
  elif (($1 > 0 && SLOT > $1 + LONGEST_GAP * SAMPLE_INTERVAL)); then
    log WARNING "no round for $((SLOT - $1)) s: the clock was set forward, or this machine stood still"
  fi
}

# note_missed: a line for each round whose time went by while another one was taken. When it seems to be many of
# them, the clock was set forward: it may be set back, and these rounds are still to come.
note_missed() {
  local missed=$((SLOT + SAMPLE_INTERVAL)) at
  ((EPOCHSECONDS <= SLOT + LONGEST_GAP * SAMPLE_INTERVAL)) || return 0
  for (( ; missed <= EPOCHSECONDS; missed += SAMPLE_INTERVAL)); do
    printf -v at '%(%Y-%m-%dT%H:%M:%SZ)T' "$missed"
    log WARNING "no round at $at: the one before took too long"
    not_taken "$at" 'the round before took too long'
    write_round "$at"
  done
}

# care_for_old: past days are packed, beside the rounds, and removed after their time.
care_for_old() {
  remove_old
  [[ -n $PACKING ]] && kill -0 "$PACKING" 2>/dev/null && return
  pack_old &
  PACKING=$!
}

main() {
  local at started before last
  # A jq or curl that ended is a failed question, not our end.
  trap '' PIPE
  exec {ALIVE}<"$SIDECAR_RUN_DIR/alive"
  beat
  care_for_old
  while :; do
    last=$SLOT
    wait_for_slot
    note_step "$last"
    beat
    printf -v at '%(%Y-%m-%dT%H:%M:%SZ)T' "$SLOT"
    now_us started
    before=$STATE REASON='' WERE_RELAYED=$RELAYED
    if [[ -z $NETCHECK && $STATE == Running ]] && ((SLOT / SAMPLE_INTERVAL % NETCHECK_EVERY == 0)); then
      start_netcheck "$started"
    fi
    take_round "$at" "$started"
    note_state "$before"
    if [[ -z $NETCHECK && $STATE == Running ]] && newly_relayed; then
      start_netcheck "$started"
    fi
    [[ -z $NETCHECK ]] || add_netcheck
    write_round "$at"
    note_missed
    [[ $at != *T00:0* ]] || care_for_old
  done
}

main
