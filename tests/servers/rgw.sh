#!/usr/bin/env bash
# Starts Ceph's object gateway, an S3 server of production, with all of its data in memory, on loopback.
#
#   rgw.sh PORT MONITOR_PORT [roles]       prints `ready`, and runs until its standard input ends
#
# With `roles` it has a role `host`, and gives out credentials for it. It then refuses wrong ones without saying what is wrong.
# Access key AK, secret key SK. Whatever ends the caller closes the input, so nothing stays behind.
set -euo pipefail
PORT=$1 MON=$2
D=$(mktemp -d "${TMPDIR:-/tmp}/lifeboat-rgw.XXXXXX")
pids=()
stop() {
    # The store in memory takes its time over a polite request, and has nothing to save.
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$D"
}
trap stop EXIT
trap 'exit 1' INT TERM
fail() {
    echo "$1" >&2
    tail -n 20 "$D"/log/* >&2 || true
    exit 1
}

mkdir -p "$D"/{mon,osd,run,log,rgw}
FSID=$(cat /proc/sys/kernel/random/uuid)
cat >"$D/ceph.conf" <<CONF
[global]
fsid = $FSID
mon_host = [v2:127.0.0.1:$MON]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data = $D/mon
osd_data = $D/osd
run_dir = $D/run
crash_dir = $D/run
admin_socket = $D/run/\$name.asok
log_file = $D/log/\$name.log
mon_cluster_log_file = $D/log/cluster.log
keyring = $D/keyring
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_max_object_name_len = 256
osd_max_object_namespace_len = 64
osd_memory_target = 939524096
mon_warn_on_insecure_global_id_reclaim = false
auth_allow_insecure_global_id_reclaim = true
mon_data_avail_warn = 1
mon_data_avail_crit = 1
[osd]
keyring = $D/osd/keyring
[client]
rgw_frontends = beast endpoint=127.0.0.1:$PORT
rgw_data = $D/rgw
rgw_dns_name = localhost
CONF
[ -z "${3:-}" ] || cat >>"$D/ceph.conf" <<CONF
rgw_s3_auth_use_sts = true
rgw_sts_key = $(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
CONF
conf=(-c "$D/ceph.conf")
{
    monmaptool --create --fsid "$FSID" --addv a "[v2:127.0.0.1:$MON]" "$D/monmap"
    ceph-authtool --create-keyring "$D/keyring" --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool "$D/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
    ceph-mon "${conf[@]}" --mkfs -i a --monmap "$D/monmap" --keyring "$D/keyring"
} >"$D/log/setup" 2>&1 || fail "the monitor could not be set up"
ceph-mon "${conf[@]}" -f -i a </dev/null >"$D/log/mon.out" 2>&1 &
pids+=($!)
{
    uuid=$(cat /proc/sys/kernel/random/uuid)
    osd=$(timeout 60 ceph "${conf[@]}" osd new "$uuid")
    timeout 60 ceph "${conf[@]}" auth get-or-create "osd.$osd" mon 'allow profile osd' osd 'allow *' >"$D/osd/keyring"
    ceph-osd "${conf[@]}" -i "$osd" --mkfs --osd-uuid "$uuid" --no-mon-config
} >"$D/log/setup" 2>&1 || fail "the store could not be set up"
ceph-osd "${conf[@]}" -f -i "$osd" </dev/null >"$D/log/osd.out" 2>&1 &
pids+=($!)
radosgw "${conf[@]}" -f -n client.admin </dev/null >"$D/log/rgw.out" 2>&1 &
pids+=($!)
for _ in $(seq 240); do
    if curl -s -o /dev/null "http://127.0.0.1:$PORT/"; then up=yes && break; fi
    kill -0 "${pids[2]}" 2>/dev/null || fail "the gateway ended"
    sleep 0.25
done
[ "${up:-}" = yes ] || fail "the gateway does not answer"
timeout 60 radosgw-admin "${conf[@]}" -n client.admin user create --uid=test --display-name=test \
    --access-key=AK --secret-key=SK >"$D/log/setup" 2>&1 || fail "the user could not be made"
allow() { printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow",%s}]}' "$1"; }
[ -z "${3:-}" ] || {
    timeout 60 radosgw-admin "${conf[@]}" -n client.admin role create --role-name=host \
        --assume-role-policy-doc="$(allow '"Principal":{"AWS":["arn:aws:iam:::user/test"]},"Action":["sts:AssumeRole"]')"
    timeout 60 radosgw-admin "${conf[@]}" -n client.admin role-policy put --role-name=host --policy-name=buckets \
        --policy-doc="$(allow '"Action":["s3:*"],"Resource":"arn:aws:s3:::*"')"
} >"$D/log/setup" 2>&1 || fail "the role could not be made"
echo ready
cat >/dev/null
