#!/usr/bin/env bash
# Stands in for the tailscale command: replays what is recorded in the directory FAKE_TAILSCALE, one name for
# each thing that can be asked: NAME.out and NAME.err are printed, NAME.sleep holds seconds to wait before that,
# NAME.then seconds to wait after it, NAME.exit the exit status. Every call is kept in `calls`.
printf '%q ' "$@" >>"$FAKE_TAILSCALE/calls"
printf '\n' >>"$FAKE_TAILSCALE/calls"
[[ $1 != --socket=* ]] || shift
case "$1 ${2-}" in
  "debug localapi") name=${4#ping\?ip=} name=pong.${name%%&*} ;;
  debug\ *) name=$2 ;;
  *) name=$1 ;;
esac
[[ ! -f $FAKE_TAILSCALE/$name.sleep ]] || sleep "$(<"$FAKE_TAILSCALE/$name.sleep")"
[[ ! -f $FAKE_TAILSCALE/$name.err ]] || cat "$FAKE_TAILSCALE/$name.err" >&2
[[ ! -f $FAKE_TAILSCALE/$name.out ]] || cat "$FAKE_TAILSCALE/$name.out"
[[ ! -f $FAKE_TAILSCALE/$name.then ]] || sleep "$(<"$FAKE_TAILSCALE/$name.then")"
[[ ! -f $FAKE_TAILSCALE/$name.exit ]] || exit "$(<"$FAKE_TAILSCALE/$name.exit")"
