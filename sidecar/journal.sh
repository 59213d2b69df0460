# shellcheck shell=bash
# Writing the journal: whole lines at the end of the day's file, and old days packed and removed.
#
# Sourced by the sampler. A round is written by one write(2); what a full disk leaves of it is taken back. Only
# a crash in the middle leaves a torn line, and the next round starts on a line of its own.

# The file whose end is known to be the end of a line.
CLEAN_FILE=''

# append AT LINE: LINE to the day's file of AT. Says so and returns 1 when it can't.
append() {
  local file=$JOURNAL_DIR/${1%%T*}.ndjson text=$2$'\n' size
  if [[ -e $file || -L $file ]]; then
    is_regular "$file" || { log ERROR "${file##*/} is not a regular file: the round of $1 is not written" && return 1; }
  elif is_regular "$file.gz"; then
    unpack "$file" || return 1
  fi
  if [[ $CLEAN_FILE != "$file" && -s $file && $(tail -c 1 "$file" 2>/dev/null | wc -l) == 0 ]]; then
    log WARNING "the last line of ${file##*/} is torn: going on after it"
    text=$'\n'$text
  fi
  CLEAN_FILE=''
  size=$(stat -c %s "$file" 2>/dev/null) || size=0
  printf '%s' "$text" >"$WORK.line" || return 1
  # bash and cat would split a long line into several writes.
  if dd if="$WORK.line" bs="${#text}" count=1 2>/dev/null >>"$file"; then
    CLEAN_FILE=$file
    return
  fi
  log ERROR "the round of $1 could not be written to $file: $(free_space)"
  truncate -s "$size" "$file" 2>/dev/null
  return 1
}

free_space() {
  local line
  line=$(df -Pk "$JOURNAL_DIR" 2>/dev/null | tail -n 1)
  read -r _ _ _ line _ <<<"$line"
  printf '%s KiB are free there' "${line:-unknown}"
}

# pack_old: days before yesterday are packed, with what /samples tells of them kept beside them.
pack_old() {
  local file day yesterday packing=$JOURNAL_DIR/.packing rounds bytes
  printf -v yesterday '%(%Y-%m-%d)T' "$((EPOCHSECONDS - 86400))"
  for file in "$JOURNAL_DIR"/????-??-??.ndjson; do
    day=${file##*/} day=${day%.ndjson}
    [[ $day =~ $DAY_PATTERN && $day < $yesterday ]] || continue
    is_regular "$file" || continue
    rounds=$(grep -ac "$ROUND_PATTERN" "$file")
    bytes=$(stat -c %s "$file") || continue
    # A day that could not be packed stays as it is.
    if nice gzip -c "$file" 2>/dev/null >"$packing" && [[ $(gzip -dc "$packing" 2>/dev/null | wc -c) == "$bytes" ]]; then
      touch -r "$file" "$packing"
      printf '%s %s %s %s\n' "$day.ndjson.gz" "$(stat -c %s "$packing")" "$rounds" "$bytes" >>"$JOURNAL_DIR/.index"
      mv -f "$packing" "$file.gz" && rm -f -- "$file"
    else
      rm -f -- "$packing"
      log WARNING "the journal of $day could not be packed: $(free_space)"
    fi
  done
}

# unpack FILE: a packed day that is written to again, since the clock was set back.
unpack() {
  local packing=$JOURNAL_DIR/.unpacking
  if gzip -dc "$1.gz" 2>/dev/null >"$packing" && mv -f "$packing" "$1"; then
    rm -f -- "$1.gz"
    return
  fi
  log ERROR "${1##*/}.gz could not be unpacked: $(free_space)"
  return 1
}

# remove_old: the files of days before the retention.
remove_old() {
  local file day oldest
  printf -v oldest '%(%Y-%m-%d)T' "$((EPOCHSECONDS - JOURNAL_RETENTION_DAYS * 86400))"
  for file in "$JOURNAL_DIR"/????-??-??.ndjson{,.gz}; do
    day=${file##*/} day=${day%%.*}
    [[ -e $file && $day =~ $DAY_PATTERN && $day < $oldest ]] || continue
    if rm -f -- "$file"; then
      log INFO "removed the journal of $day: older than $JOURNAL_RETENTION_DAYS days"
    fi
  done
}
