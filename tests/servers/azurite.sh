#!/usr/bin/env bash
# Starts Azurite, Microsoft's own stand-in for Azure Blob Storage, on loopback.
#
#   azurite.sh PORT MAIN.JS [tls]       prints `ready`, and runs until its standard input ends
#
# With `tls` it speaks HTTPS and prints `ready CERTIFICATE`, the file of its own certificate, which nobody else signed.
# The account and its key are those that Azurite has for everybody.
set -euo pipefail
PORT=$1 MAIN=$2
. "$(dirname "$0")/one_program.sh"
args=(--blobHost 127.0.0.1 --blobPort "$PORT" --location "$D/data")
url=http://127.0.0.1:$PORT/ said=ready
if [ "${3:-}" = tls ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$D/key.pem" -out "$D/cert.pem" 2>"$D/log"
    # Tokens are only taken over TLS.
    args+=(--cert "$D/cert.pem" --key "$D/key.pem" --oauth basic)
    url=https://127.0.0.1:$PORT/ said="ready $D/cert.pem"
fi
# It would otherwise report its use to the outside, and refuse versions of the protocol that are newer than it is.
start Azurite node "$MAIN" "${args[@]}" --disableTelemetry --silent --skipApiVersionCheck
until_up curl -sk -o /dev/null "$url"
serve "$said"
