#!/usr/bin/env bash
# Starts PouchDB Server, which speaks CouchDB's HTTP protocol, on loopback.
#
#   pouchdb.sh PORT MAIN.JS       prints `ready`, and runs until its standard input ends
#
# Its one user is `me` with the password `secret`.
set -euo pipefail
PORT=$1 MAIN=$2
. "$(dirname "$0")/one_program.sh"
mkdir "$D/data"
echo '{"admins":{"me":"secret"}}' >"$D/config.json"
# It leaves files in the folder it is started in.
cd "$D"
start 'PouchDB Server' node "$MAIN" --host 127.0.0.1 --port "$PORT" --dir "$D/data" --config "$D/config.json" --no-stdout-logs
until_up curl -sf -o /dev/null "http://127.0.0.1:$PORT/"
serve ready
