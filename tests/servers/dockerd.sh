#!/usr/bin/env bash
# Starts a Docker engine of its own, beside any that this machine has, with an image made of busybox alone.
#
#   dockerd.sh           prints `ready SOCKET`, and runs until its standard input ends
#
# Needs root. Nothing is pulled. Containers have no network, so no rule of a firewall and no bridge is made.
set -euo pipefail
. "$(dirname "$0")/one_program.sh"
. "$(dirname "$0")/image.sh"

# Containers and mounts do not end with the engine: it is asked to stop them, and given the time to.
stop() {
    if [ -n "$pid" ]; then
        docker ps -q 2>/dev/null | xargs -r docker kill >/dev/null 2>&1 || true
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
    fi
    wait 2>/dev/null || true
    while read -r mount; do umount -l "$mount" 2>/dev/null || true; done < <(
        cut -d' ' -f5 /proc/self/mountinfo | grep "^$D/" | sort -r || true
    )
    rm -rf "$D"
}

export DOCKER_HOST=unix://$D/docker.sock
# The client would else look for settings, and for plugins, in a home folder.
export DOCKER_CONFIG=$D/client
start dockerd dockerd --host "$DOCKER_HOST" --data-root "$D/data" --exec-root "$D/exec" --pidfile "$D/pid" \
    --bridge none --iptables=false --ip6tables=false --containerd-namespace "lifeboat-$$"
until_up docker version >"$D/version" 2>&1
make_image | docker import - "$IMAGE" >"$D/imported"
serve "ready $D/docker.sock"
