#!/usr/bin/env bash
# Starts MariaDB on loopback and on a socket.
#
#   mariadb.sh PORT [ARGS]        prints `ready FOLDER PID`, and runs until its standard input ends
#
# FOLDER has the socket `mysqld.sock` and, in `data`, the data. `root` is let in by the socket without password; by the port `backup` with the
# password `secret`, who may do everything.
set -euo pipefail
PORT=$1
shift
. "$(dirname "$0")/one_program.sh"
# It does not like to run as root.
AS=()
if [ "$(id -u)" = 0 ]; then
    chown nobody:nogroup "$D"
    AS=(setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$D")
fi
chmod 755 "$D"
cd "$D"
# Several that share a folder for temporary files remove each other's.
export TMPDIR=$D
"${AS[@]}" mariadb-install-db --no-defaults --datadir="$D/data" --auth-root-authentication-method=normal --skip-test-db \
    >"$D/install.log" 2>&1 || { cat "$D/install.log" >&2; exit 1; }
start MariaDB "${AS[@]}" mariadbd --no-defaults --datadir="$D/data" --bind-address=127.0.0.1 --port="$PORT" \
    --socket="$D/mysqld.sock" --pid-file="$D/pid" --log-bin="$D/data/binlog" --server-id=1 --innodb-flush-log-at-trx-commit=0 "$@"
as_root() { mariadb --no-defaults --socket="$D/mysqld.sock" --user=root --execute="$1"; }
until_up as_root 'SELECT 1' >/dev/null
as_root "CREATE USER backup@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO backup@'%' WITH GRANT OPTION"
serve "ready $D $pid"
