#!/usr/bin/env bash
# Starts PouchDB Server, which speaks CouchDB's HTTP protocol, on loopback.
#
#   pouchdb.sh PORT MAIN.JS       prints `ready`, and runs until its standard input ends
set -euo pipefail
PORT=$1 MAIN=$2
. "$(dirname "$0")/one_program.sh"
# It writes its configuration into the folder it is started in.
mkdir "$D/data"
cd "$D"
start 'PouchDB Server' node "$MAIN" --host 127.0.0.1 --port "$PORT" --dir "$D/data" --config "$D/config.json" --no-stdout-logs
until_up curl -sf -o /dev/null "http://127.0.0.1:$PORT/"
serve ready
