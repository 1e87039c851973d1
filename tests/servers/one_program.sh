# For the scripts beside it: one server program in a folder of its own, $D, until standard input ends.
#
#   start NAME PROGRAM [ARGS]     starts it
#   until_up COMMAND [ARGS]       waits until the command succeeds; fails after a minute, or when the server has ended
#   serve LINE                    prints the line, and waits for the end of standard input
D=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-server.XXXXXX")
server='' pid=''

stop() {
    if [ -n "$pid" ]; then kill -9 "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM

start() {
    server=$1
    shift
    "$@" </dev/null >"$D/log" 2>&1 &
    pid=$!
}

until_up() {
    local _
    for _ in $(seq 240); do
        if "$@" 2>/dev/null; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.25
    done
    echo "$server does not answer" >&2
    cat "$D/log" >&2
    exit 1
}

port_is_open() { (: <"/dev/tcp/127.0.0.1/$1"); }

serve() {
    echo "$1"
    cat >/dev/null
}
