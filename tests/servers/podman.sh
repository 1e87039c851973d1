#!/usr/bin/env bash
# Starts a Podman service of its own, beside any that this machine has, with the image of dockerd.sh.
#
#   podman.sh            prints `ready SOCKET`, and runs until its standard input ends
#
# Needs root. Nothing is pulled. Containers have no network.
set -euo pipefail
. "$(dirname "$0")/one_program.sh"
. "$(dirname "$0")/image.sh"

own_podman() {
    podman --root "$D/root" --runroot "$D/run" --tmpdir "$D/tmp" --storage-driver vfs --cgroup-manager cgroupfs \
        --events-backend file "$@"
}

# Containers belong to no service: they go on until they are told to end, and so do those who watch over commands in them.
stop() {
    own_podman rm --force --all --time 0 >/dev/null 2>&1 || true
    pgrep -f "^[^ ]*conmon .* $D/" | xargs -r kill 2>/dev/null || true
    if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; fi
    wait 2>/dev/null || true
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done < <(
        cut -d' ' -f5 /proc/self/mountinfo | grep "^$D/" | sort -r || true
    )
    rm -rf "$D"
}

export HOME=$D/home CONTAINERS_CONF=$D/containers.conf
# By itself it gives containers higher limits than its own, which is refused where root may not raise them.
cat >"$D/containers.conf" <<TEXT
[containers]
default_ulimits = ["nproc=1000:1000", "nofile=1000:1000"]
TEXT
make_image | own_podman import - "$IMAGE" >"$D/imported" 2>&1
start podman podman --root "$D/root" --runroot "$D/run" --tmpdir "$D/tmp" --storage-driver vfs --cgroup-manager cgroupfs \
    --events-backend file system service --time 0 "unix://$D/podman.sock"
until_up curl --fail --silent --show-error --unix-socket "$D/podman.sock" http://podman/_ping >"$D/ping" 2>&1
serve "ready $D/podman.sock"
