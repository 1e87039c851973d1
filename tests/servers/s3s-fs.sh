#!/usr/bin/env bash
# Starts s3s-fs, a small S3 server that keeps objects as files, on loopback.
#
#   s3s-fs.sh PORT PROGRAM       prints `ready`, and runs until its standard input ends
#
# Access key AK, secret key SKSKSKSK.
set -euo pipefail
PORT=$1 PROGRAM=$2
D=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-s3s.XXXXXX")
pid=
stop() {
    if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM
mkdir "$D/data"
"$PROGRAM" --host 127.0.0.1 --port "$PORT" --access-key AK --secret-key SKSKSKSK "$D/data" </dev/null >"$D/log" 2>&1 &
pid=$!
for _ in $(seq 100); do
    if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then up=yes && break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
done
if [ "${up:-}" != yes ]; then
    echo "s3s-fs does not answer" >&2
    cat "$D/log" >&2
    exit 1
fi
echo ready
cat >/dev/null
