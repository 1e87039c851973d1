#!/usr/bin/env bash
# Starts s3s-fs, a small S3 server that keeps objects as files, on loopback.
#
#   s3s-fs.sh PORT PROGRAM       prints `ready`, and runs until its standard input ends
#
# Access key AK, secret key SKSKSKSK.
set -euo pipefail
PORT=$1 PROGRAM=$2
. "$(dirname "$0")/one_program.sh"
mkdir "$D/data"
start s3s-fs "$PROGRAM" --host 127.0.0.1 --port "$PORT" --access-key AK --secret-key SKSKSKSK "$D/data"
until_up port_is_open "$PORT"
serve ready
