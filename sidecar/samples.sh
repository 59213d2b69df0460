# shellcheck shell=bash
# The journal's routes: which days there are, and a day's rounds.
#
# Sourced by the handler. The sampler writes the journal; a file only ever grows at its end.

readonly SAMPLES_SLOTS=8

# What a whole round looks like; a line that a crash tore does not.
readonly ROUND_PATTERN='^{"v":[0-9][0-9]*,"at":".*}$'

# route_samples_index: each day's rounds and bytes. A count is kept with the size it was made at, and only what
# was added since is read: 31 days cost one `stat`.
route_samples_index() {
  local -A known_size=() known_rounds=()
  local file day size rounds body='' kept='' changed=no size_kept files=("$JOURNAL_DIR"/????-??-??.ndjson)
  if [[ -f $SIDECAR_RUN_DIR/index ]]; then
    while read -r day size rounds; do
      known_size[$day]=$size known_rounds[$day]=$rounds
    done <"$SIDECAR_RUN_DIR/index"
  fi
  if [[ -e ${files[0]} ]]; then
    while read -r size file; do
      day=${file##*/} day=${day%.ndjson}
      [[ $day =~ $DAY_PATTERN ]] || continue
      rounds=${known_rounds[$day]-} size_kept=yes
      if [[ -z $rounds || ${known_size[$day]} != "$size" ]]; then
        changed=yes
        if [[ -n $rounds ]] && ((size > known_size[$day])); then
          rounds=$((rounds + $(count_rounds "$file" "${known_size[$day]}" "$size")))
        else
          rounds=$(count_rounds "$file" 0 "$size")
        fi
        # A size in the middle of a line is no place to count on from.
        [[ -z $(tail -c +"$size" "$file" 2>/dev/null | head -c 1) ]] || size_kept=no
      fi
      [[ $size_kept == no ]] || kept+="$day $size $rounds"$'\n'
      body+=",\"$day\":{\"rounds\":$rounds,\"bytes\":$size}"
    done < <(stat -c '%s %n' "${files[@]}" 2>/dev/null)
  fi
  if [[ $changed == yes ]]; then
    local new=$SIDECAR_RUN_DIR/index.$BASHPID
    printf '%s' "$kept" >"$new" && mv -f "$new" "$SIDECAR_RUN_DIR/index"
  fi
  answer 200 application/json "{\"days\":{${body#,}}}"
}

# count_rounds FILE FROM TO: rounds between these bytes.
count_rounds() {
  tail -c +"$(($2 + 1))" "$1" 2>/dev/null | head -c "$(($3 - $2))" | grep -ac "$ROUND_PATTERN"
}

# route_samples_day DAY QUERY: its rounds, or those later than `after`, as NDJSON. The length is known before
# the first byte goes out, so that a client sees a cut.
route_samples_day() {
  local file=$JOURNAL_DIR/$1.ndjson after='' size
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
  [[ -f $file && -r $file ]] || refuse 404 'no journal of this day'
  slot samples "$SAMPLES_SLOTS"
  # Both are opened before the length is taken: the sampler may remove the file meanwhile.
  exec {counted}<"$file" {sent}<"$file" || refuse 404 'no journal of this day'
  size=$(stat -L -c %s "/proc/self/fd/$sent") || refuse 500 'the journal is not readable'
  if [[ -z $after ]]; then
    stream "$size" head -c "$size"
  fi
  local length first
  # The leading `at` decides, by its value: rounds are in order but for a clock that was set back. The first
  # pass finds where the later ones begin, mostly near the end, so that the second reads little.
  # shellcheck disable=SC2016
  local select='match(substr($0, 1, 64), /"at":"[^"]*"/) && substr($0, RSTART + 6, RLENGTH - 7) > after'
  # shellcheck disable=SC2016
  read -r length first < <(head -c "$size" <&"$counted" | awk -v after="$after" '{ here = read; read += length($0) + 1 }
    '"$select"' { if (!n) first = here; n += length($0) + 1 }
    END { printf "%.0f %.0f\n", n, first }')
  stream "$length" later "$((first + 1))" "$((size - first))" "$after" "$select"
}

later() {
  tail -c +"$1" | head -c "$2" | awk -v after="$3" "$4"
}

# stream LENGTH COMMAND…: its output as the body, from the journal on stdin.
stream() {
  local length=$1
  shift
  head_of 200 application/x-ndjson "$length"
  printf '%s' "$HEAD" 2>/dev/null
  "$@" <&"$sent" 2>/dev/null | timeout "$SEND_SECONDS" cat 2>/dev/null
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
