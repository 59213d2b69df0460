#!/usr/bin/env bash
# Ends with 0 when the sidecar beside it says that it is well, with the settings of entrypoint.sh: for a
# container's health check.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
SIDECAR_DIR=${BASH_SOURCE[0]%/*}
# shellcheck source=lib.sh
. "$SIDECAR_DIR/lib.sh"

address=$SIDECAR_BIND
case $address in
  0.0.0.0) address=127.0.0.1 ;;
  ::) address=::1 ;;
esac
allowed=${SIDECAR_ALLOWED_HOSTS//,/ }
read -r host _ <<<"${allowed:-localhost:$SIDECAR_PORT}"
authorization=''
if [[ -n $SIDECAR_TOKEN_FILE ]]; then
  authorization="Authorization: Bearer $(<"$SIDECAR_TOKEN_FILE")"$'\r\n' || exit 1
fi

exec {connection}<>"/dev/tcp/$address/$SIDECAR_PORT" || exit 1
printf 'GET /healthz HTTP/1.1\r\nHost: %s\r\n%s\r\n' "$host" "$authorization" >&"$connection" || exit 1
IFS= read -r -t 8 answer <&"$connection" || exit 1
[[ $answer == 'HTTP/1.1 200 '* ]]
