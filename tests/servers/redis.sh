#!/usr/bin/env bash
# Starts a Redis on loopback.
#
#   redis.sh PORT [ARGS]          prints `ready FOLDER PID`, and runs until its standard input ends
#
# FOLDER is where it keeps its data; ARGS are more of its own, and count before what stands here.
set -euo pipefail
PORT=$1
shift
. "$(dirname "$0")/one_program.sh"
mkdir "$D/data"
start Redis redis-server --port "$PORT" --bind 127.0.0.1 --dir "$D/data" --save '' --daemonize no \
    --enable-debug-command yes "$@"
until_up port_is_open "$PORT"
# It listens before it has loaded what lies there.
has_loaded() { [[ $(redis-cli -p "$PORT" ping 2>&1) != LOADING* ]]; }
until_up has_loaded
serve "ready $D/data $pid"
