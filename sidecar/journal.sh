# shellcheck shell=bash
# Writing the journal: whole lines at the end of the day's file, and old days removed.
#
# Sourced by the sampler. A round is written by one write(2); what a full disk leaves of it is taken back. Only
# a crash in the middle leaves a torn line, and the next round starts on a line of its own.

# The file whose end is known to be the end of a line.
CLEAN_FILE=''

# append AT LINE: LINE to the day's file of AT. Says so and returns 1 when it can't.
append() {
  local file=$JOURNAL_DIR/${1%%T*}.ndjson text=$2$'\n' size
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

# remove_old: the files of days before the retention.
remove_old() {
  local file day oldest
  printf -v oldest '%(%Y-%m-%d)T' "$((EPOCHSECONDS - JOURNAL_RETENTION_DAYS * 86400))"
  for file in "$JOURNAL_DIR"/????-??-??.ndjson; do
    day=${file##*/} day=${day%.ndjson}
    [[ $day =~ $DAY_PATTERN && $day < $oldest ]] || continue
    if rm -f -- "$file"; then
      log INFO "removed the journal of $day: older than $JOURNAL_RETENTION_DAYS days"
    fi
  done
}
