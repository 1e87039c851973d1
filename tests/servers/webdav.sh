#!/usr/bin/env bash
# Starts rclone as a WebDAV server of one folder, on loopback.
#
#   webdav.sh PORT       prints `ready FOLDER`, and runs until its standard input ends
#
# User `me`, password `secret`. FOLDER is what it serves.
set -euo pipefail
PORT=$1
D=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-webdav.XXXXXX")
pid=
stop() {
    if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM
mkdir "$D/data"
# It would otherwise answer from what it remembers of folders for minutes.
rclone serve webdav "$D/data" --config /dev/null --addr "127.0.0.1:$PORT" --user me --pass secret --dir-cache-time 0 \
    </dev/null >"$D/log" 2>&1 &
pid=$!
for _ in $(seq 100); do
    if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then up=yes && break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
done
if [ "${up:-}" != yes ]; then
    echo "rclone does not answer" >&2
    cat "$D/log" >&2
    exit 1
fi
echo "ready $D/data"
cat >/dev/null
