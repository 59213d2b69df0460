#!/usr/bin/env bash
# Takes one round each SAMPLE_INTERVAL and appends it to the journal: one file for each UTC day, one JSON line
# for each round. Started by entrypoint.sh, which has checked the settings.
#
# A round pings first and reads the status then: a peer's address in use shows only for seconds after traffic.
# The addresses to ping are those of the round before; when the status says that they have changed, or there
# were none yet, the round is taken once more.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
SIDECAR_DIR=${BASH_SOURCE[0]%/*}
# shellcheck source=lib.sh
. "$SIDECAR_DIR/lib.sh"
# shellcheck source=journal.sh
. "$SIDECAR_DIR/journal.sh"

readonly PINGS=6 HOSTS_AT_ONCE=16 NETCHECK_EVERY=10 LONGEST_GAP=10
readonly WORK=$SIDECAR_RUN_DIR/round

TARGETS='[]' ADDRESSES='' ROUND='' STATE='' REASON='' JOURNAL=ok SLOT=0
read -ra NAMES <<<"${SAMPLE_HOSTS//[,$'\n']/ }"

# probe ADDRESS…: the pings to all of them as lines `index<TAB>STATUS<TAB>ANSWER` in the file $WORK.pings.
probe() {
  local line running=0 i=0 count=$#
  for (( ; i < count; i++)); do
    if ((running == HOSTS_AT_ONCE)); then
      wait -n
      ((--running))
    fi
    ping_burst "$1" "$PINGS" >"$WORK.burst.$i" &
    ((++running))
    shift
  done
  wait
  for ((i = 0; i < count; i++)); do
    while IFS= read -r line; do
      printf '%s\t%s\n' "$i" "$line"
    done <"$WORK.burst.$i"
  done >"$WORK.pings"
}

# describe AT: the journal's line for the round into ROUND, the state into STATE, and the next round's targets
# into NEXT; or 1 and the reason in REASON.
describe() {
  local out result status=0
  (ts "$SIDECAR_CLI_SECONDS" status --json) >"$WORK.status" 2>/dev/null || status=$?
  outcome result "$status"
  case $result in
    timeout) REASON="tailscale status: no answer within $SIDECAR_CLI_SECONDS s" && return 1 ;;
    failed) REASON="tailscale status: exit status $status" && return 1 ;;
  esac
  # shellcheck disable=SC2016
  out=$(jq_tailnet -acn --slurpfile raw "$WORK.status" --rawfile pings "$WORK.pings" --arg at "$1" \
    --arg seconds "$PING_SECONDS" --argjson pinged "${TARGETS:-[]}" 'include "tailnet";
    $ARGS.positional as $names | $raw[0] | status | targets($names) as $targets
      | .BackendState, round($at; $names; $pinged; $pings; $seconds), $targets, ($targets | map(.[1]) | join(" "))' \
    --args "${NAMES[@]}" 2>/dev/null) || out=''
  mapfile -t out <<<"$out"
  if ((${#out[@]} != 4)); then
    REASON='tailscale status: no readable answer'
    return 1
  fi
  STATE=${out[0]//\"/} ROUND=${out[1]} NEXT=${out[2]} NEXT_ADDRESSES=${out[3]//\"/}
}

# take_round AT: the journal's line for the round into ROUND.
take_round() {
  local again=yes addresses
  while :; do
    read -ra addresses <<<"$ADDRESSES"
    probe "${addresses[@]}"
    if ! describe "$1"; then
      not_taken "$1" "$REASON"
      STATE=Unknown TARGETS='[]' ADDRESSES=''
      return
    fi
    [[ $NEXT != "$TARGETS" ]] || return 0
    TARGETS=$NEXT ADDRESSES=$NEXT_ADDRESSES
    [[ $again == yes && -n $ADDRESSES ]] || return 0
    again=no
  done
}

# not_taken AT REASON: the line for a round that could not be taken into ROUND.
not_taken() {
  local reason
  json_text reason "$2"
  ROUND='{"v":1,"at":"'$1'","daemon":"","state":"Unknown","peers":{},"pings":{},"error":'$reason'}'
}

# add_netcheck SINCE: the answer of the netcheck that ran beside the round, as a member of it.
add_netcheck() {
  if read_shared netcheck "$1" "$1" && [[ $SHARED_RESULT == ok ]]; then
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
    kill -TERM -- "-$HTTP_GROUP" 2>/dev/null
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

main() {
  local at started before netcheck last
  exec {ALIVE}<"$SIDECAR_RUN_DIR/alive"
  beat
  remove_old
  while :; do
    last=$SLOT
    wait_for_slot
    note_step "$last"
    beat
    printf -v at '%(%Y-%m-%dT%H:%M:%SZ)T' "$SLOT"
    now_us started
    before=$STATE REASON='' netcheck=''
    if ((SLOT / SAMPLE_INTERVAL % NETCHECK_EVERY == 0)) && [[ $STATE == Running ]]; then
      shared netcheck "$started" produce_netcheck &
      netcheck=$!
    fi
    take_round "$at"
    note_state "$before"
    if [[ -n $netcheck ]]; then
      wait "$netcheck" 2>/dev/null
      add_netcheck "$started"
    fi
    write_round "$at"
    note_missed
    [[ $at != *T00:0* ]] || remove_old
  done
}

main
