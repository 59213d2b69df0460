# shellcheck shell=bash
# The routes: what each answers, and how much of it may run at once.
#
# Sourced by the handler. The journal's routes are in samples.sh.

readonly WHOIS_SLOTS=16 PING_SLOTS=16 TEXT_PING_SLOTS=8 NETCHECK_SLOTS=8 DEBUG_SLOTS=2
readonly BURST=5 BURST_US=20000000
readonly NETCHECK_KEPT_US=60000000
# The control server changes its map of relays rarely.
readonly REGIONS_KEPT_US=3600000000
# Who looks at a node asks for /status and then pings: both are of one status.
readonly NODES_KEPT_US=1000000
readonly DEBUG_SECONDS=5 DEBUG_EVENTS=50

# route TARGET: answer it.
route() {
  local path=${1%%\?*} query='' name argument
  [[ $1 != *\?* ]] || query=${1#*\?}
  [[ $path == /* && $1 != *[!A-Za-z0-9/._~%:@\!\$\&\'\(\)*+,\;=?-]* ]] || refuse 400 'malformed path'
  [[ $path =~ ^/[^/]*(/[^/]+)?$ ]] || refuse_path "$path"
  IFS=/ read -r _ name argument <<<"$path"
  decode name "$name"
  decode argument "$argument"
  [[ $argument != . && $argument != .. ]] || refuse 400 'malformed path'
  case $name${argument:+/} in
    healthz) query_none "$query" && route_healthz ;;
    status) query_none "$query" && route_status ;;
    netcheck) query_none "$query" && route_netcheck ;;
    samples) query_none "$query" && route_samples_index ;;
    whois/) query_none "$query" && route_whois "$argument" ;;
    debug/) query_none "$query" && route_debug "$argument" ;;
    ping/) route_ping "$argument" "$query" ;;
    samples/) route_samples_day "$argument" "$query" ;;
    *) refuse_path "$path" ;;
  esac
}

refuse_path() {
  local part parts decoded
  IFS=/ read -ra parts <<<"$1"
  for part in "${parts[@]}"; do
    decode decoded "$part"
    [[ $decoded != . && $decoded != .. ]] || refuse 400 'malformed path'
  done
  refuse 404 'no such path'
}

query_none() {
  [[ -z $1 ]] || refuse 400 'expected no query'
}

# slot POOL SIZE: one of the SIZE places of POOL until the end of this request, or 503: slow work has places of
# its own, so that it can't take those of other requests.
slot() {
  local i
  for ((i = 0; i < $2; i++)); do
    take_lock "$1.$i" 0 && return
  done
  refuse 503 'too many such requests at once' 'Retry-After: 2'
}

# ended STATUS: refuse for what `shared` returned.
ended() {
  case $1 in
    0) ;;
    2) refuse 504 'tailscale did not answer in time' ;;
    3) refuse 503 'too many such requests at once' 'Retry-After: 2' ;;
    *) refuse 502 'tailscale failed' ;;
  esac
}

# load_status MICROSECONDS: the projected status into SHARED, at most so much older than this request.
load_status() {
  local status=0
  shared status "$((STARTED - $1))" produce_status || status=$?
  ended "$status"
}

produce_status() {
  local raw=$SIDECAR_RUN_DIR/status.raw
  raw_status >"$raw" || return
  projection status - file_on_one_line "$raw"
}

# produce_health: the daemon's state and version.
produce_health() {
  local raw state=unknown version=''
  raw=$(one_line raw_own_status) || return
  # No text in it can pose as one of these: its quotes are escaped.
  [[ ! $raw =~ [{,]\ *\"BackendState\":\ *\"([A-Za-z]*)\" ]] || state=${BASH_REMATCH[1]}
  [[ ! $raw =~ [{,]\ *\"Version\":\ *\"([^\"\\]*)\" ]] || version=${BASH_REMATCH[1]}
  printf '%s %s\n' "${state:-unknown}" "$version"
}

route_status() {
  load_status 0
  answer 200 application/json "$SHARED"
}

route_healthz() {
  local status=0 state=unknown version='' beat=0 journal='' alive=false ok=false code=503 api
  shared health "$STARTED" produce_health || status=$?
  ((status != 0)) || read -r state version <<<"$SHARED"
  read -r beat journal 2>/dev/null <"$SIDECAR_RUN_DIR/sampler" || beat=0
  ((EPOCHSECONDS - beat > 2 * SAMPLE_INTERVAL + 30)) || alive=true
  if [[ $state == Running && $alive == true && $journal == ok ]]; then
    ok=true code=200
  fi
  api_usable
  json_text state "$state"
  json_text version "${version%%-*}"
  json_text journal "${journal:-unknown}"
  json_text api "$API_STATE"
  answer "$code" application/json \
    "{\"ok\":$ok,\"state\":$state,\"daemon\":$version,\"sampler\":$alive,\"journal\":$journal,\"api\":$api}"
}

route_whois() {
  local raw
  [[ $1 =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}$ || $1 =~ ^[0-9A-Fa-f:]{2,39}$ && $1 == *:*:* ]] ||
    refuse 400 'expected an IP address'
  slot whois "$WHOIS_SLOTS"
  raw_whois "$1"
  project whois - "$raw" || refuse 502 'tailscale gave no readable answer'
  answer 200 application/json "$PROJECTED"
}

# raw_whois ADDRESS: what the daemon says of it, on one line into `raw`; refuses when there is nothing.
raw_whois() {
  local status=0 result
  if api_usable; then
    # The status of the answer tells a peer that is not found from a route that is not there.
    raw=$(one_line api "$SIDECAR_CLI_SECONDS" "whois?addr=$1" -w '%{http_code}') || status=$?
    ((status != HTTP_ERROR)) || [[ $raw != 404 ]] || refuse 404 'peer not found'
    raw=${raw%200}
  else
    status=$HTTP_ERROR
  fi
  if ((status == HTTP_ERROR)); then
    status=0
    raw=$(ts "$SIDECAR_CLI_SECONDS" whois --json -- "$1" 2>&1) || status=$?
    if [[ $status != 0 && (${raw,,} == *'peer not found'* || ${raw,,} == *'no match'*) ]]; then
      refuse 404 'peer not found'
    fi
    # A warning about versions may stand before the JSON, since the CLI's errors are wanted as well.
    raw="{${raw#*\{}" raw=${raw//[$'\n\t']/}
  fi
  outcome result "$status"
  case $result in
    timeout) refuse 504 'tailscale did not answer in time' ;;
    failed) refuse 502 'tailscale failed' ;;
  esac
}

route_netcheck() {
  local status=0 report
  slot netcheck "$NETCHECK_SLOTS"
  shared netcheck "$((STARTED - NETCHECK_KEPT_US))" produce_netcheck || status=$?
  ended "$status"
  report=$SHARED
  # A netcheck has regions by number; it is still worth answering if their codes can't be had.
  if [[ $report == *[!{}]* ]] && shared regions "$((STARTED - REGIONS_KEPT_US))" produce_regions; then
    report="${report%\}},\"RegionCode\":$SHARED}"
  fi
  answer 200 application/json "$report"
}

# produce_regions: the codes of DERP regions by their numbers, if the LocalAPI can be asked.
produce_regions() {
  api_usable || return 1
  api "$SIDECAR_CLI_SECONDS" derpmap | jq_tailnet -acn 'include "tailnet"; input | region_codes' 2>/dev/null
  first_failure "${PIPESTATUS[@]}"
}

# check_name NAME: refuse what can't be the name of a node; its status into SHARED else, with the nodes there are.
check_name() {
  [[ $1 =~ ^[A-Za-z0-9_][A-Za-z0-9._:-]{0,252}$ || $1 =~ ^:[0-9A-Fa-f:.]{1,38}$ ]] ||
    refuse 400 'expected a host name, a DNS name or a Tailscale address'
  load_status "$NODES_KEPT_US"
}

# resolve_address ADDRESS: ADDRESS itself into ADDRESS, if it is a node's first one and the daemon runs; else 1.
# This is `resolve` for who took the address from /status, without a jq, whose start takes longer than a pong.
# No text of a node can pose as a member, for its quotes are escaped.
resolve_address() {
  [[ $1 =~ ^[0-9a-f.:]+$ && $SHARED == '{"BackendState":"Running",'*'"TailscaleIPs":["'"$1"'"'[],]* ]] || return 1
  ADDRESS=$1
}

# resolve NAME: the address of the one node called NAME into ADDRESS, its projected status into PEER.
resolve() {
  local found
  project resolve "$1" "$SHARED" || refuse 502 'tailscale gave no readable answer'
  found=$PROJECTED
  case $found in
    stopped) refuse 502 'tailscale is not running' ;;
    none) refuse 404 'no such peer' ;;
    many\ *) refuse 400 "several nodes have this name: use one of ${found#many }" ;;
    nameless\ *) refuse 400 "several nodes have this name and no DNS name: use one of ${found#nameless }" ;;
  esac
  found=${found#one }
  ADDRESS=${found%% *} PEER=${found#* }
  [[ $ADDRESS =~ ^[0-9A-Fa-f.:]+$ ]] || refuse 502 'the peer has no address'
}

route_ping() {
  case $2 in
    '' | format=text) ping_as_text "$1" ;;
    format=json) ping_as_json "$1" ;;
    *) refuse 400 'format: expected text or json' ;;
  esac
}

ping_as_json() {
  check_name "$1"
  resolve_address "$1" || resolve "$1"
  slot ping "$PING_SLOTS"
  begin_round "$((STARTED + BURST_US))"
  probe "$ADDRESS"
  project pings - "$PINGS" || refuse 502 'tailscale failed'
  answer 200 application/json "$PROJECTED"
}

# Five pings as people know them. The exit status says nothing (1 after five relayed pongs, 0 after a time-out
# among pongs): a line about a ping does.
ping_as_text() {
  local out result status=0 line text=''
  check_name "$1"
  resolve "$1"
  slot text-ping "$TEXT_PING_SLOTS"
  out=$(ts 20 ping --until-direct=false "--timeout=${PING_SECONDS}s" --c "$BURST" -- "$ADDRESS" 2>&1) || status=$?
  while IFS= read -r line; do
    case $line in
      'pong from '* | 'ping "'*'" timed out' | *'is local Tailscale IP'* | 'no reply' | \
        'direct connection not established' | *'no matching peer'* | *'unknown peer'* | *'node key has expired'*)
        text+=$line$'\n'
        ;;
    esac
  done <<<"$out"
  if [[ -z $text ]]; then
    outcome result "$status"
    [[ $result != timeout ]] || refuse 504 'tailscale did not answer in time'
    refuse 502 'tailscale failed'
  fi
  answer 200 'text/plain; charset=utf-8' "$text"
}

route_debug() {
  local changes events raw
  [[ $SIDECAR_DEBUG == on ]] || refuse 404 'no such path'
  check_name "$1"
  resolve "$1"
  slot debug "$DEBUG_SLOTS"
  # The bus never ends by itself, and is cut in the middle of an object when time is out: jq prints each whole
  # one before it fails at the torn one.
  exec {bus}< <(
    watch_bus | jq_tailnet -c 'include "tailnet"; event' 2>/dev/null | head -n "$DEBUG_EVENTS"
  )
  changes='[]'
  if raw=$(one_line raw_changes "$ADDRESS") && project changes - "$raw"; then
    changes=$PROJECTED
  fi
  events=$(cat <&"$bus")
  events=${events//$'\n'/,}
  answer 200 application/json "{\"peer\":$PEER,\"endpoint_changes\":$changes,\"events\":[$events]}"
}

# watch_bus: messages of the IPN bus, as many as wanted or as come in time.
watch_bus() {
  local status=0
  if api_usable; then
    api "$DEBUG_SECONDS" 'watch-ipn-bus?mask=1' -N || status=$?
    ((status == HTTP_ERROR)) || return 0
  fi
  (ts "$DEBUG_SECONDS" debug watch-ipn "--count=$DEBUG_EVENTS" --engine-updates 2>/dev/null)
}

# raw_changes ADDRESS: the recent changes of a peer's endpoint.
raw_changes() {
  local status=0
  if api_usable; then
    api "$SIDECAR_CLI_SECONDS" "debug-peer-endpoint-changes?ip=$1" || status=$?
    ((status == HTTP_ERROR)) || return "$status"
  fi
  (ts "$SIDECAR_CLI_SECONDS" debug peer-endpoint-changes "$1" 2>/dev/null)
}
