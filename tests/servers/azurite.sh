#!/usr/bin/env bash
# Starts Azurite, Microsoft's own stand-in for Azure Blob Storage, on loopback.
#
#   azurite.sh PORT MAIN.JS       prints `ready`, and runs until its standard input ends
#
# The account and its key are those that Azurite has for everybody.
set -euo pipefail
PORT=$1 MAIN=$2
D=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-azurite.XXXXXX")
pid=
stop() {
    if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM
# It would otherwise report its use to the outside, and refuse versions of the protocol that are newer than it is.
node "$MAIN" --blobHost 127.0.0.1 --blobPort "$PORT" --location "$D/data" --disableTelemetry --silent \
    --skipApiVersionCheck </dev/null >"$D/log" 2>&1 &
pid=$!
for _ in $(seq 240); do
    if curl -s -o /dev/null "http://127.0.0.1:$PORT/"; then up=yes && break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.25
done
if [ "${up:-}" != yes ]; then
    echo "Azurite does not answer" >&2
    cat "$D/log" >&2
    exit 1
fi
echo ready
cat >/dev/null
