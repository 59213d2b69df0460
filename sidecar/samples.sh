# shellcheck shell=bash
# The journal's routes: which days there are, and a day's rounds.
#
# Sourced by the handler. The sampler writes the journal; a file only ever grows at its end.

readonly SAMPLES_SLOTS=8

declare -A COUNTED=()
DAYS=() INDEX='' INDEX_BEFORE='' ROUNDS=0 BYTES=0 UNPACK=cat

# route_samples_index: each day's rounds and bytes, those of a packed day as if it were not.
route_samples_index() {
  local date body='' new
  list_days
  read_index
  INDEX=''
  for date in "${DAYS[@]}"; do
    count_day "$date" || continue
    body+=",\"$date\":{\"rounds\":$ROUNDS,\"bytes\":$BYTES}"
  done
  if [[ $INDEX != "$INDEX_BEFORE" ]]; then
    new=$JOURNAL_DIR/.index.$BASHPID
    { printf '%s' "$INDEX" >"$new" && mv -f "$new" "$JOURNAL_DIR/.index"; } 2>/dev/null
  fi
  answer 200 application/json "{\"days\":{${body#,}}}"
}

# list_days: the days there are into DAYS.
list_days() {
  local file day
  local -A found=()
  for file in "$JOURNAL_DIR"/????-??-??.ndjson{.gz,}; do
    day=${file##*/} day=${day%%.*}
    if [[ $day =~ $DAY_PATTERN ]] && is_regular "$file"; then
      found[$day]=yes
    fi
  done
  mapfile -t DAYS < <(printf '%s\n' "${!found[@]}" | sort)
  [[ -n ${DAYS[0]} ]] || DAYS=()
}

# open_day DAY: its file open as the descriptor `day`, and what unpacks it as UNPACK; 1 when there is none. It comes
# before every other look at the file, which the sampler may pack or remove meanwhile. A day that has both is not
# packed to its end.
open_day() {
  if is_regular "$JOURNAL_DIR/$1.ndjson" && exec {day}<"$JOURNAL_DIR/$1.ndjson"; then
    UNPACK='cat'
  elif is_regular "$JOURNAL_DIR/$1.ndjson.gz" && exec {day}<"$JOURNAL_DIR/$1.ndjson.gz"; then
    UNPACK='gzip -dc'
  else
    return 1
  fi 2>/dev/null
}

# read_index: what was counted before, by file: `SIZE ROUNDS BYTES` into COUNTED. It is kept in the journal's
# directory, and what is not in it is counted again.
read_index() {
  local name size rounds bytes
  COUNTED=() INDEX_BEFORE=''
  is_regular "$JOURNAL_DIR/.index" || return 0
  while read -r name size rounds bytes; do
    [[ $size$rounds$bytes =~ ^[0-9]+$ ]] || continue
    COUNTED[$name]="$size $rounds $bytes"
    INDEX_BEFORE+="$name $size $rounds $bytes"$'\n'
  done <"$JOURNAL_DIR/.index"
}

# count_day DAY: its rounds and bytes into ROUNDS and BYTES, and what to keep of that to INDEX; 1 when the day is gone.
# Of a file that grew only what was added is read.
count_day() {
  local name=$1.ndjson day size known_size=0 known_rounds=0 known_bytes=0
  open_day "$1" || return
  [[ $UNPACK == cat ]] || name+=.gz
  size=$(stat -L -c %s "/proc/self/fd/$day")
  [[ -z ${COUNTED[$name]-} ]] || read -r known_size known_rounds known_bytes <<<"${COUNTED[$name]}"
  if ((size == known_size)); then
    ROUNDS=$known_rounds BYTES=$known_bytes
  elif [[ $UNPACK != cat ]]; then
    ROUNDS=$($UNPACK <"/proc/self/fd/$day" 2>/dev/null | grep -ac "$ROUND_PATTERN")
    BYTES=$($UNPACK <"/proc/self/fd/$day" 2>/dev/null | wc -c)
  else
    ((size > known_size)) || known_size=0 known_rounds=0
    ROUNDS=$((known_rounds + $(count_rounds "$known_size" "$size"))) BYTES=$size
    # A size in the middle of a line is no place to count on from.
    [[ -z $(tail -c +"$size" "/proc/self/fd/$day" | head -c 1) ]] || name=''
  fi
  [[ -z $name ]] || INDEX+="$name $size $ROUNDS $BYTES"$'\n'
  exec {day}<&-
}

# count_rounds FROM TO: rounds between these bytes of the open day.
count_rounds() {
  tail -c +"$(($1 + 1))" "/proc/self/fd/$day" | head -c "$(($2 - $1))" | grep -ac "$ROUND_PATTERN"
}

# route_samples_day DAY QUERY: its rounds, or those later than `after`, as NDJSON. The length is known before
# the first byte goes out, so that a client sees a cut.
route_samples_day() {
  local after='' size
  [[ $1 =~ $DAY_PATTERN ]] || refuse 400 'expected a day as YYYY-MM-DD'
  case $2 in
    '') ;;
    after=*)
      [[ $2 != *\&* ]] || refuse 400 'expected after and nothing else'
      decode after "${2#after=}"
      utc_of after "$after" || refuse 400 'after: expected a time as RFC 3339'
      ;;
    *) refuse 400 'expected after and nothing else' ;;
  esac
  slot samples "$SAMPLES_SLOTS"
  open_day "$1" || refuse 404 'no journal of this day'
  size=$(stat -L -c %s "/proc/self/fd/$day") || refuse 500 'the journal is not readable'
  if [[ $TAKES_GZIP == yes ]]; then
    send_packed "$size" "$after"
  else
    send_plain "$size" "$after"
  fi
}

# day_from BYTE: what the day's file held when it was opened, from this byte on.
day_from() {
  $UNPACK <"/proc/self/fd/$day" 2>/dev/null | tail -c +"$(($1 + 1))" | head -c "$(($2 - $1))"
}

# The leading `at` decides, by its value: rounds are in order but for a clock that was set back.
# shellcheck disable=SC2016
readonly LATER='match(substr($0, 1, 64), /"at":"[^"]*"/) && substr($0, RSTART + 6, RLENGTH - 7) > after'

# send_plain SIZE AFTER: the body as it is.
send_plain() {
  local size=$1 length first
  [[ $UNPACK == cat ]] || size=$($UNPACK <"/proc/self/fd/$day" 2>/dev/null | wc -c)
  if [[ -z $2 ]]; then
    stream "$size" day_from 0 "$size"
  fi
  # The first pass finds where the later ones begin, mostly near the end, so that the second reads little.
  # shellcheck disable=SC2016
  read -r length first < <(day_from 0 "$size" | awk -v after="$2" '{ here = read; read += length($0) + 1 }
    '"$LATER"' { if (!n) first = here; n += length($0) + 1 }
    END { printf "%.0f %.0f\n", n, first }')
  stream "$length" later "$first" "$size" "$2"
}

# later FROM SIZE AFTER: the rounds after AFTER, none of which is before the byte FROM.
later() {
  day_from "$1" "$2" | awk -v after="$3" "$LATER"
}

# selected SIZE AFTER: all rounds, or those later than AFTER.
selected() {
  if [[ -z $2 ]]; then
    day_from 0 "$1"
  else
    later 0 "$1" "$2"
  fi
}

# send_packed SIZE AFTER: the body packed by gzip. It goes through a file that has no name any more, for its length.
send_packed() {
  local size=$1 spool=$JOURNAL_DIR/.packing.$BASHPID packed unpacked
  if [[ $UNPACK != cat && -z $2 ]]; then
    stream "$size" cat "/proc/self/fd/$day" -- 'Content-Encoding: gzip'
  fi
  [[ $UNPACK == cat ]] || size=$($UNPACK <"/proc/self/fd/$day" 2>/dev/null | wc -c)
  # shellcheck disable=SC2094 # written first, read then
  if { exec {packed}>"$spool" {unpacked}<"$spool"; } 2>/dev/null; then
    rm -f -- "$spool"
    if { selected "$size" "$2" | gzip -c >&"$packed"; } 2>/dev/null; then
      stream "$(stat -L -c %s "/proc/self/fd/$unpacked")" cat "/proc/self/fd/$unpacked" -- 'Content-Encoding: gzip'
    fi
  fi
  # No room for it.
  send_plain "$1" "$2"
}

# stream LENGTH COMMAND… [-- HEADER]: the command's output as the body.
stream() {
  local length=$1 header=''
  shift
  if [[ ${*: -2:1} == -- ]]; then
    header=${*: -1}
    set -- "${@:1:$#-2}"
  fi
  head_of 200 application/x-ndjson "$length" "$header"
  printf '%s' "$HEAD" 2>/dev/null
  "$@" 2>/dev/null | timeout "$SEND_SECONDS" cat 2>/dev/null
  finish
}

# utc_of NAME TIME: an RFC 3339 time as `YYYY-MM-DDTHH:MM:SSZ` into NAME. Rounds are at whole seconds, so that
# a fraction can be cut without changing which are later.
utc_of() {
  local -n _utc=$1
  [[ $2 =~ ^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?([Zz]|([+-])([0-9]{2}):([0-9]{2}))$ ]] ||
    return 1
  local y=$((10#${BASH_REMATCH[1]})) m=$((10#${BASH_REMATCH[2]})) d=$((10#${BASH_REMATCH[3]}))
  local seconds=$((10#${BASH_REMATCH[4]} * 3600 + 10#${BASH_REMATCH[5]} * 60 + 10#${BASH_REMATCH[6]}))
  local offset=$((10#${BASH_REMATCH[10]:-0} * 3600 + 10#${BASH_REMATCH[11]:-0} * 60)) last=31
  ((10#${BASH_REMATCH[4]} < 24 && 10#${BASH_REMATCH[5]} < 60 && 10#${BASH_REMATCH[6]} <= 60)) || return 1
  ((10#${BASH_REMATCH[10]:-0} < 24 && 10#${BASH_REMATCH[11]:-0} < 60)) || return 1
  case $m in
    4 | 6 | 9 | 11) last=30 ;;
    2) last=$((28 + (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)))) ;;
  esac
  ((y >= 1970 && m >= 1 && m <= 12 && d >= 1 && d <= last)) || return 1
  [[ ${BASH_REMATCH[9]} == - ]] && offset=$((-offset))
  # Days since 1970-01-01 in the Gregorian calendar, counted in years that start in March.
  ((m > 2)) || y=$((y - 1))
  m=$(((m + 9) % 12))
  local days=$((365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719468))
  printf -v _utc '%(%Y-%m-%dT%H:%M:%SZ)T' "$((days * 86400 + seconds - offset))"
}
