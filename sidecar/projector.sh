# shellcheck shell=bash
# The jq that answers the handlers' questions, started once by entrypoint.sh: starting one for each answer takes
# longer than all the rest of it. Where it gives no answer a jq is started for the one question.
#
# Sourced by the handler. A question is one line `NUMBER KIND ARGUMENT PAYLOAD`, its answer one line
# `NUMBER ANSWER`. They go through two named pipes, one question at a time.

readonly PROJECTOR_SECONDS=5

# project KIND ARGUMENT PAYLOAD: what `answered` in tailnet.jq makes of a payload without line ends, into PROJECTED;
# 1 when it can't be read. ARGUMENT has no blanks.
project() {
  local number=$BASHPID.${EPOCHREALTIME/./} questions answers
  local question="$number $1 ${2:--} $3"
  PROJECTED=''
  if [[ -p $SIDECAR_RUN_DIR/questions ]] && take_lock projector "$PROJECTOR_SECONDS"; then
    # Open for both, so that neither waits for jq; what others left there is read over. The line end before the
    # question ends one that was torn.
    exec {questions}<>"$SIDECAR_RUN_DIR/questions" {answers}<>"$SIDECAR_RUN_DIR/answers"
    PROJECTED=$(
      printf '\n%s\n' "$question" >&"$questions" &
      timeout "$PROJECTOR_SECONDS" grep -am 1 "^$number " <&"$answers"
      kill "$!" 2>/dev/null
    )
    exec {questions}>&- {answers}>&- {LOCK_FD}>&-
  fi
  [[ -n $PROJECTED ]] || PROJECTED=$(jq_tailnet -Rnr 'include "tailnet"; serve_answers' <<<"$question" 2>/dev/null)
  PROJECTED=${PROJECTED#"$number "}
  [[ -n $PROJECTED ]]
}
