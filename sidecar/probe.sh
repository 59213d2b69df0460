# shellcheck shell=bash
# The pings of a round: a burst to each of many nodes, side by side and before a deadline.
#
# Sourced by the sampler and the handler, which set BURST, the pings of a burst. A burst is a cold ping and then warm ones,
# one after the other while the node answers.
# After a ping without an answer all the others go out at once: a dead node costs two time-outs. One curl sends
# the cold pings to all nodes, one the warm ones to each few of them, and one all that go out at once.

# How many pings are under way at once: the cold ones, which are not timed; curls that send warm ones, which are;
# and those to nodes that don't answer, which only wait.
readonly COLD_AT_ONCE=64 CHUNKS_AT_ONCE=16 SILENT_AT_ONCE=250
# Nodes that one curl sends warm pings to, at the least.
readonly CHUNK=4
readonly CLI_HOSTS_AT_ONCE=16

# What `curl_pings` prints after an answer, an answer that is not on a line of its own, and its address.
readonly MARK_PATTERN='^#([0-9]+) ([0-9]+) ([0-9]+)$' OBJECT_PATTERN='(\{[^{}]*\})'
readonly ADDRESS_PATTERN='[{,][[:space:]]*"IP":[[:space:]]*"([0-9A-Fa-f.:]+)"'
# More text of a stranger is not looked at.
readonly LONGEST_TEXT=300000

# PINGS: the answers of this round with tabs between them. TAKEN: how many there are by address. SILENT: addresses
# that left a ping unanswered. ANSWERED: what answered in the round before, which comes first in this one.
PINGS='' DEADLINE_US=0
declare -A TAKEN=() SILENT=() ANSWERED=()

# begin_round DEADLINE: nothing is pinged yet; DEADLINE is in microseconds.
begin_round() {
  local address
  DEADLINE_US=$1 PINGS=''
  for address in "${!TAKEN[@]}"; do
    if [[ ! ${SILENT[$address]-} ]]; then ANSWERED[$address]=yes; else ANSWERED[$address]=no; fi
  done
  TAKEN=() SILENT=()
}

# seconds_left: the seconds to the deadline into LEFT; 1 when it is over.
seconds_left() {
  local us
  now_us us
  us=$((DEADLINE_US - us))
  ((us > 50000)) || return 1
  printf -v LEFT '%d.%06d' "$((us / 1000000))" "$((us % 1000000))"
}

# keep LINE ADDRESS: a ping's answer, or what `failed_ping` says in its place; 1 when it was not asked for.
keep() {
  [[ ${TAKEN[$2]-} ]] && ((TAKEN[$2] < BURST)) || return 1
  PINGS+=${1//$'\t'/ }$'\t'
  ((++TAKEN[$2]))
  [[ $1 != "{\"IP\":\"$2\",\"Err\":\""* || $1 == *"$UNREADABLE"* ]] || SILENT[$2]=yes
}

# probe ADDRESS…: a burst to each that had none in this round, in this order: those that answered in the round
# before, those that did not.
probe() {
  local address
  local -a first=() then=()
  for address; do
    [[ $address =~ ^[0-9A-Fa-f.:]+$ && ! ${TAKEN[$address]-} ]] || continue
    TAKEN[$address]=0
    if [[ ${ANSWERED[$address]-} == no ]]; then then+=("$address"); else first+=("$address"); fi
  done
  ((${#first[@]} == 0)) || bursts "${first[@]}"
  ((${#then[@]} == 0)) || bursts "${then[@]}"
}

# bursts ADDRESS…: a burst to each.
bursts() {
  local address i
  local -a rest=()
  if ! api_usable; then
    bursts_by_cli "$@"
    return
  fi
  at_once "$COLD_AT_ONCE" "$@"
  warm "$@"
  for address; do
    [[ ${SILENT[$address]-} ]] || continue
    for ((i = TAKEN[$address]; i < BURST; i++)); do
      rest+=("$address")
    done
  done
  ((${#rest[@]} == 0)) || at_once "$SILENT_AT_ONCE" "${rest[@]}"
}

# at_once WIDTH ADDRESS…: one ping to each, WIDTH of them under way at once. Without --parallel-immediate curl holds the
# others back until the first one is answered, to see whether they can share its connection.
at_once() {
  local width=$1 LEFT
  shift
  seconds_left || return 0
  keep_answers "$@" < <(curl_pings "$LEFT" -Z --parallel-immediate --parallel-max "$width" -- "$@" 2>/dev/null)
}

# warm ADDRESS…: the warm pings to those of them that answered so far, some of them by each curl.
warm() {
  local address i size fd
  local -a left=() fds=()
  for address; do
    ((TAKEN[$address] == 0)) || [[ ${SILENT[$address]-} ]] || left+=("$address")
  done
  size=$(((${#left[@]} + CHUNKS_AT_ONCE - 1) / CHUNKS_AT_ONCE))
  ((size >= CHUNK)) || size=$CHUNK
  for ((i = 0; i < ${#left[@]}; i += size)); do
    exec {fd}< <(warm_some "${left[@]:i:size}")
    fds+=("$fd")
  done
  for fd in "${fds[@]}"; do
    keep_answers <&"$fd"
    exec {fd}<&-
  done
}

# warm_some ADDRESS…: the warm pings to each in turn; a node that leaves one unanswered is left. For `keep_answers`, a
# line `=ADDRESS…` goes before what `curl_pings` prints.
warm_some() {
  local address i failed LEFT
  local -a list=() rest=()
  for address; do
    for ((i = 1; i < BURST; i++)); do
      list+=("$address")
    done
  done
  while ((${#list[@]} > 0)) && seconds_left; do
    printf '=%s\n' "${list[*]}"
    { failed=$(curl_pings "$LEFT" --fail-early -- "${list[@]}" 2>&1 >&3); } 3>&1
    [[ $failed =~ $MARK_PATTERN ]] || return 0
    i=${BASH_REMATCH[1]}
    address=${list[i]} rest=("${list[@]:i+1}") list=()
    for i in "${rest[@]}"; do
      [[ $i == "$address" ]] || list+=("$i")
    done
  done
}

# keep_answers ADDRESS…: keep what `curl_pings` prints of these. Answers side by side may stand in any order, so that
# they count by the address in them, and the lines after them say how many there must be.
keep_answers() {
  local line text='' address REASON PING
  local -a list=("$@")
  local -A lacking=()
  while IFS= read -r line; do
    [[ $line ]] || continue
    if [[ $line =~ $MARK_PATTERN && ${list[BASH_REMATCH[1]]-} ]]; then
      address=${list[BASH_REMATCH[1]]}
      if ((BASH_REMATCH[2] == 0)); then
        ((++lacking[$address]))
      else
        ping_failure "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"
        failed_ping "$address" "$REASON"
        keep "$PING" "$address"
      fi
    elif [[ $line != *\}\{* && $line =~ $ANSWER_PATTERN ]]; then
      keep "$line" "${BASH_REMATCH[1]}" && ((--lacking[${BASH_REMATCH[1]}]))
    elif [[ $line == =* ]]; then
      read -ra list <<<"${line#=}"
    elif ((${#text} < LONGEST_TEXT)); then
      text+=$line' '
    fi
  done
  # What did not stand on a line of its own.
  while [[ $text =~ $OBJECT_PATTERN ]]; do
    line=${BASH_REMATCH[1]} text=${text#*"${BASH_REMATCH[1]}"}
    [[ $line =~ $ADDRESS_PATTERN ]] || continue
    address=${BASH_REMATCH[1]}
    ((${lacking[$address]-0} > 0)) && keep "$line" "$address" && ((--lacking[$address]))
  done
  for address in "${!lacking[@]}"; do
    failed_ping "$address" "$UNREADABLE"
    while ((lacking[$address]-- > 0)); do
      keep "$PING" "$address"
    done
  done
}

# bursts_by_cli ADDRESS…: the same through the CLI.
bursts_by_cli() {
  local address line i fd LEFT
  local -a fds=()
  for ((i = 1; i <= $#; i += CLI_HOSTS_AT_ONCE)); do
    seconds_left || return 0
    fds=()
    for address in "${@:i:CLI_HOSTS_AT_ONCE}"; do
      exec {fd}< <(ping_by_cli "$address" "$BURST")
      fds+=("$fd")
    done
    for fd in "${fds[@]}"; do
      while IFS= read -r line; do
        [[ ! $line =~ $ANSWER_PATTERN ]] || keep "$line" "${BASH_REMATCH[1]}"
      done <&"$fd"
      exec {fd}<&-
    done
  done
}

# unfinished: the addresses whose bursts are not complete, as a JSON list into UNFINISHED.
unfinished() {
  local address
  UNFINISHED=''
  for address in "${!TAKEN[@]}"; do
    ((TAKEN[$address] >= BURST)) || UNFINISHED+=",\"$address\""
  done
  UNFINISHED="[${UNFINISHED#,}]"
}
