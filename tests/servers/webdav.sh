#!/usr/bin/env bash
# Starts rclone as a WebDAV server of one folder, on loopback.
#
#   webdav.sh PORT       prints `ready FOLDER`, and runs until its standard input ends
#
# User `me`, password `secret`. FOLDER is what it serves.
set -euo pipefail
PORT=$1
. "$(dirname "$0")/one_program.sh"
mkdir "$D/data"
# It would otherwise answer from what it remembers of folders for minutes.
start rclone rclone serve webdav "$D/data" --config /dev/null --addr "127.0.0.1:$PORT" --user me --pass secret \
    --dir-cache-time 0
until_up port_is_open "$PORT"
serve "ready $D/data"
