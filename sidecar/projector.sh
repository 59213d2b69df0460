# shellcheck shell=bash
# The jq that answers the handlers' questions, started once by entrypoint.sh: starting one for each answer takes
# longer than all the rest of it. Where it gives no answer a jq is started for the one question.
#
# Sourced by the handler. A question is one line `NUMBER KIND ARGUMENT PAYLOAD`, its answer one line
# `NUMBER ANSWER`. They go through two named pipes, one question at a time.

readonly PROJECTOR_SECONDS=5

# projection KIND ARGUMENT COMMAND…: prints what `answered` in tailnet.jq makes of the payload that the command prints
# on one line; nothing when it can't be read. ARGUMENT has no blanks. Large payloads and answers go through pipes,
# since variables cost bash more than the projection costs jq.
projection() {
  local number=$BASHPID.${EPOCHREALTIME/./} questions answers answered=no answer
  answer="/^$number ./{s/^[^ ]* //p;q;};/^$number \$/q"
  if [[ -p $SIDECAR_RUN_DIR/questions ]] && take_lock projector "$PROJECTOR_SECONDS"; then
    # Open for both, so that neither waits for jq; what others left there is read over. The line end before the
    # question ends one that was torn.
    exec {questions}<>"$SIDECAR_RUN_DIR/questions" {answers}<>"$SIDECAR_RUN_DIR/answers"
    question "$number" "$@" >&"$questions" &
    timeout "$PROJECTOR_SECONDS" sed -n "$answer" <&"$answers" && answered=yes
    kill "$!" 2>/dev/null
    exec {questions}>&- {answers}>&- {LOCK_FD}>&-
  fi
  [[ $answered == yes ]] || question "$number" "$@" | jq_tailnet -Rnr 'include "tailnet"; serve_answers' 2>/dev/null | sed -n "$answer"
}

# question NUMBER KIND ARGUMENT COMMAND…: the line that the projector reads.
question() {
  printf '\n%s ' "$1 $2 ${3:--}"
  "${@:4}"
  printf '\n'
}

# project KIND ARGUMENT PAYLOAD: the projection of a payload without line ends into PROJECTED; 1 when there is none.
project() {
  PROJECTED=$(projection "$1" "$2" printf %s "$3")
  [[ -n $PROJECTED ]]
}
