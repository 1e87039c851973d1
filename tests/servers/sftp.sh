#!/usr/bin/env bash
# Starts OpenSSH as a server for SFTP alone, on loopback: one user, shut into a folder, no shell.
#
#   sftp.sh PORT       prints `ready FOLDER`, and runs until its standard input ends
#
# FOLDER holds `client` (the user's private key), `known_hosts`, and `jail`, in which the user `nobody` may write to
# `upload`. Needs root: only root may shut in. The folder is below /run, since every folder above a jail must be root's.
set -euo pipefail
PORT=$1
D=$(mktemp -d /run/lifeboat-sftp.XXXXXX)
pid=
stop() {
    # Each connection has a process of its own, and that one another, with fewer rights.
    if [ -n "$pid" ]; then
        # Found before anything is killed: an orphan no longer has its parent's number.
        mapfile -t connections < <(pgrep -P "$pid")
        for connection in "${connections[@]}"; do
            mapfile -t -O "${#connections[@]}" connections < <(pgrep -P "$connection")
        done
        kill -9 "$pid" "${connections[@]}" 2>/dev/null || true
    fi
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM
chmod 755 "$D"
mkdir -p /run/sshd "$D/jail/upload"
chown nobody "$D/jail/upload"
ssh-keygen -q -t ed25519 -N '' -f "$D/host"
ssh-keygen -q -t ed25519 -N '' -f "$D/client"
echo "[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "$D/host.pub")" >"$D/known_hosts"
cat >"$D/sshd_config" <<CONF
Port $PORT
ListenAddress 127.0.0.1
HostKey $D/host
PidFile none
AuthorizedKeysFile $D/client.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
AllowUsers nobody
MaxStartups 100
Subsystem sftp internal-sftp
ForceCommand internal-sftp
ChrootDirectory $D/jail
AllowTcpForwarding no
PermitTTY no
CONF
/usr/sbin/sshd -D -e -f "$D/sshd_config" </dev/null >"$D/log" 2>&1 &
pid=$!
for _ in $(seq 100); do
    if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then up=yes && break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
done
if [ "${up:-}" != yes ]; then
    echo "sshd does not answer" >&2
    cat "$D/log" >&2
    exit 1
fi
echo "ready $D"
cat >/dev/null
