#!/usr/bin/env bash
# Starts PostgreSQL on loopback and on a socket.
#
#   postgres.sh PORT BIN      BIN has its programs; prints `ready FOLDER`, and runs until its standard input ends
#
# FOLDER has the socket and, in `data`, the data. By the socket everybody is let in, by the port with the password `secret`; the
# superuser is `postgres`.
set -euo pipefail
PORT=$1 BIN=$2
. "$(dirname "$0")/one_program.sh"
# It does not run as root.
AS=()
if [ "$(id -u)" = 0 ]; then
    chown nobody:nogroup "$D"
    AS=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$D")
fi
# Containers look into it, too.
chmod 755 "$D"
echo secret >"$D/password"
"${AS[@]}" "$BIN/initdb" -D "$D/data" --username=postgres --pwfile="$D/password" --auth-local=trust \
    --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$D/initdb.log" 2>&1 ||
    { cat "$D/initdb.log" >&2; exit 1; }
cd "$D"
start PostgreSQL "${AS[@]}" "$BIN/postgres" -D "$D/data" -k "$D" -p "$PORT" \
    -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60
until_up "$BIN/pg_isready" -q -h "$D" -p "$PORT"
serve "ready $D"
# Its parts go with it.
kill -QUIT "$pid" 2>/dev/null || true
wait "$pid" 2>/dev/null || true
