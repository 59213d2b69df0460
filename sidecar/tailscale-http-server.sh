#!/usr/bin/env bash
# Answers one HTTP request on stdin and stdout: what socat runs for each connection (see entrypoint.sh).
#
# bash, because `read -t -n` bounds a request in time and in bytes. Nothing from the request reaches a command
# but through a check of its form, quoted, and for a node as the address that the daemon's own status gives it.
# shellcheck source-path=SCRIPTDIR
set -uo pipefail
SIDECAR_DIR=${BASH_SOURCE[0]%/*}
STARTED=${EPOCHREALTIME/[.,]/}

# shellcheck source=lib.sh
. "$SIDECAR_DIR/lib.sh"
# shellcheck source=localapi.sh
. "$SIDECAR_DIR/localapi.sh"
# shellcheck source=probe.sh
. "$SIDECAR_DIR/probe.sh"
# shellcheck source=projector.sh
. "$SIDECAR_DIR/projector.sh"
# shellcheck source=http.sh
. "$SIDECAR_DIR/http.sh"
# shellcheck source=routes.sh
. "$SIDECAR_DIR/routes.sh"
# shellcheck source=samples.sh
. "$SIDECAR_DIR/samples.sh"

DEADLINE=$((STARTED + SIDECAR_REQUEST_SECONDS * 1000000))
ALLOWED=${SIDECAR_ALLOWED_HOSTS//,/ }

# A client that goes away is no reason to die without a line in the log.
trap '' PIPE
trap at_end EXIT

read_request
route "$TARGET"
