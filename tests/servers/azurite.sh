#!/usr/bin/env bash
# Starts Azurite, Microsoft's own stand-in for Azure Blob Storage, on loopback.
#
#   azurite.sh PORT MAIN.JS [tls]       prints `ready`, and runs until its standard input ends
#
# With `tls` it speaks HTTPS and prints `ready CERTIFICATE`, the file of its own certificate, which nobody else signed.
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
args=(--blobHost 127.0.0.1 --blobPort "$PORT" --location "$D/data")
url=http://127.0.0.1:$PORT/ said=ready
if [ "${3:-}" = tls ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$D/key.pem" -out "$D/cert.pem" 2>"$D/log"
    args+=(--cert "$D/cert.pem" --key "$D/key.pem")
    url=https://127.0.0.1:$PORT/ said="ready $D/cert.pem"
fi
# It would otherwise report its use to the outside, and refuse versions of the protocol that are newer than it is.
node "$MAIN" "${args[@]}" --disableTelemetry --silent --skipApiVersionCheck </dev/null >"$D/log" 2>&1 &
pid=$!
for _ in $(seq 240); do
    if curl -sk -o /dev/null "$url"; then up=yes && break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.25
done
if [ "${up:-}" != yes ]; then
    echo "Azurite does not answer" >&2
    cat "$D/log" >&2
    exit 1
fi
echo "$said"
cat >/dev/null
