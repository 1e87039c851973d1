#!/usr/bin/env python3
"""Makes the stored corpus: real files out of the test fixtures that restic, rustic and CouchDB made, and edge cases by hand.

    fuzz/make-corpus.py

Needs restic (to read the master key) and openssl. Files are named by what they hold; those that the fuzzer found useful
are named by their SHA-1 and kept.
"""

import base64
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
COUCH_FIXTURES = HERE.parent / "crates/couchfile/tests/fixtures"
SOURCES = HERE.parent / "crates/connectors/src/source"
TLS_FIXTURES = HERE.parent / "crates/connectors/src/source/tls/fixtures"
FIXTURES = HERE.parent / "crates/repository/tests/formats/fixtures"
PASSWORD = "correct horse battery staple"
ID = "ab" * 32
TIME = "2023-01-02T03:04:05.678901234+05:45"


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def decrypt(key, stored):
    """What restic encrypted; its authentication code is not looked at."""
    arguments = ["openssl", "enc", "-d", "-aes-256-ctr", "-K", key.hex(), "-iv", stored[:16].hex()]
    return subprocess.run(arguments, input=stored[16:-16], capture_output=True, check=True).stdout


def real_files(fixture):
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(FIXTURES / f"{fixture}.tar.gz") as archive:
            archive.extractall(place, filter="data")
        repository = Path(place) / fixture
        environment = dict(os.environ, RESTIC_PASSWORD=PASSWORD)

        def restic(*arguments):
            command = ["restic", "--no-cache", "--no-lock", "-r", str(repository), *arguments]
            return subprocess.run(command, env=environment, capture_output=True, check=True).stdout

        key = base64.b64decode(json.loads(restic("cat", "masterkey"))["encrypt"])
        put("config", fixture, decrypt(key, (repository / "config").read_bytes()))
        for path in (repository / "keys").iterdir():
            put("key_file", fixture, path.read_bytes())
        for kind, target in [("snapshots", "snapshot"), ("index", "index_file")]:
            for number, path in enumerate(sorted((repository / kind).iterdir())):
                plain = decrypt(key, path.read_bytes())
                put("unpacked", f"{fixture}-{target}-{number}", plain)
                put(target, f"{fixture}-{number}", restic("cat", kind.removesuffix("s"), path.name))
        for number, path in enumerate(sorted((repository / "data").glob("*/*"))):
            pack = path.read_bytes()
            length = struct.unpack("<I", pack[-4:])[0]
            put("pack_header", f"{fixture}-{number}", decrypt(key, pack[-4 - length:-4]))
        trees = re.findall(r"^tree ([0-9a-f]{64})$", restic("list", "blobs").decode(), re.M)
        for number, tree in enumerate(sorted(set(trees))):
            blob = restic("cat", "blob", tree)
            # The largest, of many names, once: the fuzzer is quick on small inputs.
            if len(blob) < 6000 or fixture == "restic-0.14-version-1":
                put("tree", f"{fixture}-{number}", blob)


def encrypt(key, plain):
    """As restic encrypts with a key of 64 bytes, but always with the same IV."""
    iv = bytes(range(16))
    def aes(cipher, secret, data, *more):
        arguments = ["openssl", "enc", cipher, "-nopad", "-K", secret.hex(), *more]
        return subprocess.run(arguments, input=data, capture_output=True, check=True).stdout
    text = aes("-aes-256-ctr", key[:32], plain, "-iv", iv.hex())
    r = int.from_bytes(key[48:], "little") & 0x0ffffffc0ffffffc0ffffffc0fffffff
    code = 0
    for start in range(0, len(text), 16):
        code = (code + int.from_bytes(text[start:start + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    code += int.from_bytes(aes("-aes-128-ecb", key[32:48], iv), "little")
    return iv + text + (code % (1 << 128)).to_bytes(16, "little")


def key_file(n, r, p, wrapped=b""):
    """A key file that costs next to nothing and, where there is something wrapped, opens with the password "fuzz"."""
    wrapping = hashlib.scrypt(b"fuzz", salt=b"salt", n=16, r=1, p=1)
    return json.dumps({"created": TIME, "username": "u", "hostname": "h", "kdf": "scrypt", "N": n, "r": r, "p": p,
                       "salt": base64.b64encode(b"salt").decode(),
                       "data": base64.b64encode(encrypt(wrapping, wrapped)).decode()})


def edge_cases():
    put("config", "lifeboat", json.dumps({"version": 2, "id": ID, "chunker_polynomial": "3da3358b4dc173",
                                          "lifeboat": {"chunk_bytes_average": 262144}}))
    put("config", "newer", json.dumps({"version": 4294967295, "id": ID, "chunker_polynomial": "", "other": [None, 1e3]}))

    words = [base64.b64encode(bytes([n] * size)).decode() for n, size in [(1, 16), (2, 16), (3, 32)]]
    master = json.dumps({"mac": {"k": words[0], "r": words[1]}, "encrypt": words[2]}).encode()
    put("key_file", "opens", key_file(16, 1, 1, master))
    put("key_file", "short-key", key_file(16, 1, 1, master.replace(b"A", b"", 4)))
    put("key_file", "no-key", key_file(16, 1, 1, b"{}"))
    put("key_file", "wrong-password", key_file(16, 1, 2, master))
    put("key_file", "memory", key_file(1 << 40, 8, 1))
    put("key_file", "not-a-power", key_file(15, 1, 1))
    put("key_file", "other-derivation", key_file(16, 1, 1).replace("scrypt", "argon2"))

    entry = bytes.fromhex(ID)
    def packed(kind, length, *plain):
        return bytes([kind]) + struct.pack(f"<{1 + len(plain)}I", length, *plain) + entry
    put("pack_header", "every-kind", packed(0, 100) + packed(1, 50) + packed(2, 60, 70) + packed(3, 40, 400))
    put("pack_header", "empty-compressed", packed(3, 40, 0))
    put("pack_header", "largest", packed(0, 128 << 20) + packed(2, 32, 1 << 30))
    put("pack_header", "overflow", packed(0, 128 << 20) * 33)
    put("pack_header", "unknown-kind", packed(4, 40))
    put("pack_header", "torn", packed(2, 60, 70)[:-1])

    blob = {"id": ID, "type": "data", "offset": 0, "length": 32}
    put("index_file", "supersedes", json.dumps({"supersedes": [ID], "packs": []}))
    put("index_file", "unsorted", json.dumps({"packs": [{"id": ID, "blobs": [
        {**blob, "offset": 64, "uncompressed_length": 0}, {**blob, "type": "tree", "offset": 32, "uncompressed_length": 9}]}]}))
    put("index_file", "past-the-end", json.dumps({"packs": [{"id": ID, "blobs": [{**blob, "offset": 4294967295}]}]}))
    put("index_file", "marked-by-rustic", json.dumps({"packs": [], "packs_to_delete": [{"id": ID, "blobs": [blob], "time": TIME}]}))

    put("snapshot", "least", json.dumps({"time": TIME, "tree": ID}))
    put("snapshot", "null", json.dumps({"time": TIME, "tree": ID, "paths": None, "tags": None, "excludes": None}))
    put("snapshot", "most", json.dumps({"time": TIME, "tree": ID, "parent": ID, "paths": ["/a"], "hostname": "h", "username": "u",
        "uid": 1, "gid": 2, "excludes": ["*"], "tags": ["stack:cht", "x"], "original": ID, "program_version": "lifeboat 0.1.0",
        "summary": {"backup_start": TIME, "backup_end": TIME, "files_new": 1, "data_added_packed": 2}}))

    node = {"name": "n", "type": "file", "mode": 420, "mtime": TIME, "atime": TIME, "ctime": TIME, "uid": 0, "gid": 0,
            "user": "root", "size": 3, "links": 1, "content": [ID]}
    def tree(*nodes, **more):
        return json.dumps({**more, "nodes": list(nodes)}, ensure_ascii=False, separators=(",", ":"))
    put("tree", "empty", '{"nodes":[]}\n')
    put("tree", "null", '{"nodes":null}')
    put("tree", "spaces", ' { "nodes" : [ {"name":"a","type":"file"} , {"name":"b","type":"fifo"} ] } \n')
    put("tree", "keys-before", tree(node, other={"deep": [1, [2, "x"]]}, number=5))
    put("tree", "raw-link", tree({**node, "type": "symlink", "linktarget": "a\ufffd", "linktarget_raw": "Yf8=", "content": None}))
    put("tree", "xattrs", tree({**node, "extended_attributes": [{"name": "user.a", "value": "AAE="}, {"name": "user.b", "value": None}]}))
    put("tree", "folder", tree({**node, "type": "dir", "subtree": ID, "content": None}))
    put("tree", "folder-without-tree", tree({**node, "type": "dir"}))
    put("tree", "windows", tree({**node, "generic_attributes": {"windows.creation_time": "AAA="}, "error": "x"}))
    put("tree", "unknown-kind", tree({**node, "type": "door"}))
    put("tree", "quoted", tree({**node, "name": "\\x41\\u00e9\\U0001f4be\\n\\\"\\\\\\377"}))
    for name, bad in [("parent", ".."), ("slash", "a/b"), ("hidden-parent", "\\x2e\\x2e"), ("zero", "\\x00"), ("nameless", "")]:
        put("tree", name, tree({**node, "name": bad}))
    put("tree", "unsorted", tree({**node, "name": "b"}, {**node, "name": "a"}))
    put("tree", "twice", tree(node, node))
    put("tree", "deep", '{"a":' + "[" * 200 + "]" * 200 + ',"nodes":[]}')
    put("tree", "torn", tree(node)[:-20])

    lock = {"time": TIME, "exclusive": False, "hostname": "h", "username": "u", "pid": 4711, "uid": 0, "gid": 0}
    put("lock_file", "restic", json.dumps(lock))
    put("lock_file", "lifeboat", json.dumps({**lock, "exclusive": True, "lifeboat": {
        "boot_id": "0", "pid_namespace": "pid:[4026531836]", "start_ticks": 18446744073709551615}}))
    put("lock_file", "least", json.dumps({"time": TIME, "exclusive": True}))

    receipt = {"snapshot": ID, "stack": "cht", "copy": "disk", "level": 3, "verdict": "passed", "at": TIME, "rto_s": 12.5,
               "rpo_s": 3600.0, "program_version": "lifeboat 0.1.0"}
    put("receipt", "passed", json.dumps(receipt))
    put("receipt", "failed", json.dumps({**receipt, "verdict": "failed", "rto_s": 1e-300, "rpo_s": 1e308, "level": 255}))
    put("receipt", "infinite", json.dumps(receipt).replace("12.5", "1e999"))

    put("condemned", "two", json.dumps({"time": TIME, "packs": [ID, "00" * 32]}))
    put("condemned", "none", json.dumps({"time": TIME, "packs": []}))

    name = f"cht~records~2026-03-01T06-00-07Z~1of3~{ID}.tar.zst.age"
    put("archive_name", "valid", name)
    put("archive_name", "beyond", name.replace("1of3", "4of3"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for kind in [tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]:
            member = tarfile.TarInfo(f"records/{kind[0]}" if kind != tarfile.DIRTYPE else "records")
            member.type, member.linkname, member.devmajor, member.devminor = kind, "records/48", 1, 3
            member.pax_headers = {"SCHILY.xattr.user.text": "value", "mtime": "-1.500000001"}
            member.size = 5 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"bytes"))
    put("archive_member", "kinds", buffer.getvalue())
    put("archive_member", "records-only", buffer.getvalue()[:1536])

    for name, text in [("utc", "2023-11-14T22:13:20Z"), ("nanoseconds", "2023-11-14T22:13:20.123456789Z"), ("offset", TIME),
                       ("first", "0000-01-01T00:00:00Z"), ("last", "9999-12-31T23:59:59.999999999Z"),
                       ("before-first", "0000-01-01T00:00:00+23:59"), ("after-last", "9999-12-31T20:10:00-10:03"),
                       ("leap-second", "2016-12-31T23:59:60Z"), ("leap-day", "2000-02-29T00:00:00-12:00"),
                       ("negative", "-000001-01-01T00:00:00Z"), ("zone", "2023-11-14T22:13:20+01:00[Europe/Berlin]")]:
        put("time", name, text)

    for number, text in enumerate(["plain", 'q"b', "q\\\"b\\\\", "\\a\\b\\f\\n\\r\\t\\v", "\\xff\\377\\u00e9\\U0001f4be", "\\ud800",
                                   "\\U00110000", "\\400", "\\", "e\u0301\u200b\u2028\ue000\ufffd\U000e0001", "\\'"]):
        put("go_quote", f"text-{number}", text)
    put("go_quote", "bytes", b"bad \xff\xc3\x28\xe2\x82\xf0\x9f\x92\xed\xa0\x80\xc0\xaf\x7f\x00")

    put("unpacked", "json", "{}")
    put("unpacked", "list", "[]")
    put("unpacked", "empty", "")
    put("unpacked", "unknown", b"\x03{}")
    # An empty frame, and one that says it holds 2^63 bytes (RFC 8878, section 3.1.1).
    put("unpacked", "empty-frame", b"\x02" + bytes.fromhex("28b52ffd2000010000"))
    put("unpacked", "huge-frame", b"\x02" + bytes.fromhex("28b52ffde00000000000000080010000"))
    # A skippable frame, then an empty one; and a run of 128 KiB from four bytes.
    put("unpacked", "skipped", b"\x02" + bytes.fromhex("502a4d1802000000ffff28b52ffd2000010000"))
    put("unpacked", "run", b"\x02" + bytes.fromhex("28b52ffd0058030010") + b" ")


def couch_files():
    """Small files that CouchDB wrote. `couch_file/attachments-and-conflicts` is by the writer of the crate couchfile."""
    wanted = {
        "couchdb-eunit.tar.gz": ["db_v6_with_1_purge_req.couch", "db_v7_with_1_purge_req.couch", "db_non_partitioned.couch",
                                 "1f2c24bc334d701c2048f85e7438eef1.view", "6cf2c2f766f87b618edf6630b00f8736.view"],
        "clean.data.tar.gz": ["data/_nodes.couch", "data/shards/00000000-7fffffff/gone.1795229459.couch"],
    }
    for archive, paths in wanted.items():
        with tarfile.open(COUCH_FIXTURES / archive) as files:
            for path in paths:
                name = Path(path)
                target = "couch_view" if name.suffix == ".view" else "couch_file"
                put(target, name.stem.removeprefix("_"), files.extractfile(path).read())


def outside():
    """What connectors read: certificates, tars of containers, answers of servers, compose files."""
    for path in TLS_FIXTURES.iterdir():
        put("tls_file", path.name, path.read_bytes())
    chain = [TLS_FIXTURES / name for name in ["ec.crt", "ed25519.crt", "ec.key"]]
    put("tls_file", "chain", b"".join(path.read_bytes() for path in chain))
    put("tls_file", "der", base64.b64decode("".join((TLS_FIXTURES / "ec.crt").read_text().splitlines()[1:-1])))

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, more in [
            ("b", tarfile.DIRTYPE, ""), ("b/file", tarfile.REGTYPE, ""), ("b/again", tarfile.LNKTYPE, "b/file"),
            ("b/link", tarfile.SYMTYPE, "/etc/passwd"), ("b/fifo", tarfile.FIFOTYPE, ""), ("b/tty", tarfile.CHRTYPE, ""),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mtime = kind, more, 1_700_000_000
            member.pax_headers = {"SCHILY.xattr.user.text": "value"}
            member.size = 5 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"bytes"))
    put("container_tar", "kinds", buffer.getvalue())
    put("container_tar", "torn", buffer.getvalue()[:2048])
    header = tarfile.TarInfo("b")
    header.size = (1 << 63) - 1
    put("container_tar", "huge", header.tobuf(tarfile.GNU_FORMAT))
    header.size, header.name = 0, "../b"
    put("container_tar", "leads-out", header.tobuf(tarfile.GNU_FORMAT))

    def text(value):
        return struct.pack(">I", len(value)) + value
    number = struct.pack(">I", 7)
    put("sftp_answer", "version", b"\2\0\0\0\3" + text(b"fsync@openssh.com") + text(b"1"))
    put("sftp_answer", "status", b"\x65" + number + struct.pack(">I", 2) + text(b"No such file") + text(b"en"))
    put("sftp_answer", "handle", b"\x66" + number + text(b"\0\0\0\1"))
    put("sftp_answer", "data", b"\x67" + number + text(b"bytes"))
    attributes = struct.pack(">IQIIIIIII", 15 | 1 << 31, 256, 0, 0, 0o100644, 1, 2, 1, 1) + b"k" + text(b"v")
    put("sftp_answer", "names", b"\x68" + number + struct.pack(">I", 1) + text(b"f") + text(b"-rw f") + attributes)
    put("sftp_answer", "attributes", b"\x69" + number + attributes)
    put("sftp_answer", "space", b"\xc9" + number + struct.pack(">11Q", *range(4096, 4107)))

    put("redis_dump", "redis-7.0", (SOURCES / "redis/rdb/fixtures/redis-7.0.rdb").read_bytes())
    module = b"\7\1k\x81\0\0\0\0\0\0\4\1\2\5\5\1x\0"
    put("redis_dump", "module", b"REDIS0011\xfa\x09redis-ver\x057.2.4\xfe\0" + module + b"\xff" + bytes(8))
    words = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    put("redis_log", "commands", b"#TS:1700000000\r\n" + words + b"*1\r\n$5\r\nMULTI\r\n" + words + b"*1\r\n$4\r\nEXEC\r\n")
    put("redis_log", "dump-first", b"REDIS0011\xff" + bytes(8) + words)
    put("sql_dump", "mariadb-10.11", (SOURCES / "mysql/split/fixtures/mariadb-10.11.sql").read_bytes())

    put("compose_file", "cht", """name: ${COMPOSE_PROJECT_NAME:-cht}
include: [other.yml]
x-common: &common { restart: always, env_file: [{ path: .env, required: false }] }
services:
  couchdb:
    <<: *common
    image: registry/cht-couchdb:${TAG?needs a tag}
    volumes: ["${DATA:-./data}:/opt/couchdb/data:z", { type: volume, source: credentials, target: /opt/couchdb/etc }]
    configs: [one]
  api: { extends: { service: couchdb }, volumes: [data:/data] }
configs: { one: { file: ./one } }
volumes: { credentials: { name: "cht_${X-y}" }, data: {}, ext: { external: true } }
""")
    put("compose_file", "loop", "services: { a: { extends: b }, b: { extends: a } }\ninclude: compose.yaml\n")
    put("compose_file", "merged", "services:\n  a: !reset null\n  b: !override { image: x$$y }\n")

    archives()


def archives():
    """Archives of pg_dump, of each version of the format that is known."""
    def number(value):
        return (b"\1" if value < 0 else b"\0") + struct.pack("<I", abs(value))

    def text(value):
        return number(-1) if value is None else number(len(value)) + value.encode()

    def entry(minor, id_, has_data, name, kind, section, definition):
        parts = [number(id_), number(has_data), text("1259"), text("16386"), text(name), text(kind), number(section)]
        parts += [text(definition), text(""), text("COPY a FROM stdin;\n"), text("public"), text("")]
        parts += [text("heap")] * (minor >= 14) + [number(114)] * (minor >= 16)
        return b"".join(parts + [text("me"), text("false"), text("2"), text(None), b"\1" + bytes(8)])

    for minor in range(12, 17):
        compression = b"\0" if minor >= 15 else number(0)
        moment = b"".join(number(part) for part in [1, 2, 3, 4, 5, 124, 0])
        head = b"PGDMP" + bytes([1, minor, 0, 4, 8, 1]) + compression + moment + text("shop") + text("15.1") + text("15.1")
        entries = [(3, 0, "a", "TABLE", 2, "CREATE TABLE a ();"), (4, 1, "a", "TABLE DATA", 3, ""),
                   (5, 0, "s", "SEQUENCE SET", 0, "SELECT pg_catalog.setval('public.s', 7, true);\n"),
                   (6, 1, "BLOBS", "BLOBS", 3, "")]
        contents = number(len(entries)) + b"".join(entry(minor, *one) for one in entries)
        rows = b"\1" + number(4) + number(6) + b"1\tone\n" + number(0)
        blobs = b"\3" + number(6) + number(16390) + number(5) + b"large" + number(0) + number(0)
        put("postgres_archive", f"1.{minor}", head + contents + rows + blobs)
    put("postgres_archive", "ends-early", head + contents + rows)


def manifests():
    shard, damaged = "shards/00000000-7fffffff/medic.1.couch", "shards/80000000-ffffffff/medic.1.couch"
    file = {"header": 4096, "bytes": 4200, "checksum": "xxh3", "disk_version": 8, "update_seq": 3, "purge_seq": 0,
            "documents": 2, "deleted": 1, "uuid": ID[:32], "epochs": [["couchdb@a", 0]]}
    facts = {
        "data": "/srv/couchdb", "paths": ["/srv/couchdb"], "nodes": ["couchdb@a"], "checksums": ["xxh3"],
        "databases": {"medic": {"q": 2, "n": 1, "suffix": ".1", "shards": 1, "documents": 2,
                                "ranges": ["00000000-7fffffff", "80000000-ffffffff"]}},
        "files": {shard: file, "_dbs.couch": file},
        "views": {f".shards/00000000-7fffffff/medic.1_design/mrview/{ID[:32]}.view": {"header": 4096, "update_seq": 3}},
        "damaged": {damaged: {"what": "torn", "documents": ["a"], "good_in": ID, "lost": file}},
        "seen": {shard: "1 2 3 4", damaged: "1 2 3 5"}, "older_xxh3": [], "couchdb_version": "3.4.2",
    }
    put("couch_facts", "two-shards", json.dumps(facts))
    put("couch_facts", "leads-out", json.dumps({**facts, "data": "/srv/../..", "files": {"../../etc/passwd": file}}))
    put("couch_facts", "wrong-kinds", json.dumps({name: [name, None, 1.5] for name in facts}))
    tree = {"files": 3, "dirs": 1, "others": 0, "bytes": 12, "root": ID}
    manifest = {"version": 1, "stack": "cht", "sources": {"records": {"kind": "couchdb", "status": "partial",
                "tree": tree, "facts": facts, "problems": [{"path": "a", "what": "b"}], "problems_total": 1}}}
    put("manifest", "couchdb", json.dumps(manifest))
    put("configuration", "three-copies", """version: 1
state_dir: /var/lib/lifeboat
password_file: password
copies:
  disk: { url: /srv/backups, media: disk }
  offsite: { url: "s3://bucket/a", endpoint: "https://s3.example.org", region: eu-1, access_key_id: a, secret_access_key: b }
  bundle: { url: /mnt/usb, layout: archive, prefix: "${stack}/${iso_date()}", recipients: [age1x] }
stacks:
  cht:
    schedule: "0 */4 * * *"
    timezone: Africa/Nairobi
    retention: { last: 3, daily: 7, within: 2d }
    rpo: 6h
    sources:
      records: { couchdb: { data: /home/cht/couchdb, config: "volume:cht_credentials" } }
      tls: { tls: { from: "service:/etc/nginx" } }
      db: { command: { run: [pg_dump, a], name: a.sql } }
""")
    put("configuration", "variables", "{version: 1, copies: {a: {url: \"${HOME}/${WORD:-x}\"}}, stacks: {s: {sources: {f: {files: {paths: [a]}}}}}}")
    for name, text in {"every-form": "*/15,H(0-9),7 22-23/1 1,H/3 JAN-mar SUN,5-7", "nickname": "@midnight", "leap-day": "0 0 29 2 *",
                       "never": "0 0 30 2 *", "seconds": "0 0 3 * * *"}.items():
        put("schedule", name, text)


class Atom(str):
    """Where a string would be a binary."""


def term(value):
    """As Erlang encodes it; a dict is an object of CouchDB's JSON."""
    match value:
        case bool():
            return term(Atom(str(value).lower()))
        case Atom():
            return b"d" + struct.pack(">H", len(value)) + value.encode()
        case int() if 0 <= value < 256:
            return bytes([97, value])
        case int() if -(1 << 31) <= value < 1 << 31:
            return b"b" + struct.pack(">i", value)
        case int():
            size = (value.bit_length() + 7) // 8
            return bytes([110, size, value < 0]) + abs(value).to_bytes(size, "little")
        case float():
            return b"F" + struct.pack(">d", value)
        case str() | bytes():
            value = value.encode() if isinstance(value, str) else value
            return b"m" + struct.pack(">I", len(value)) + value
        case tuple():
            return bytes([104, len(value)]) + b"".join(map(term, value))
        case dict():
            return term(([pair for pair in value.items()],))
        case []:
            return b"j"
        case list() if all(type(item) is int and 0 <= item < 256 for item in value):
            return b"k" + struct.pack(">H", len(value)) + bytes(value)
        case list():
            return b"l" + struct.pack(">I", len(value)) + b"".join(map(term, value)) + b"j"


def couch_terms():
    def leaf(deleted, offset, seq):
        return (deleted, offset, seq, (40, 50), [([(8192, 4)], 4)])
    tree = [(1, (b"\1" * 16, [], [(b"\2" * 16, leaf(0, 4242, 7), []), (b"\3" * 16, leaf(1, 5000, 9), [])])),
            (3, (b"x", (0, 99, 2), []))]
    attachment = ("a.txt", "text/plain", [(8192, 4), (9000, 5)], 9, 12, 2, b"\5" * 16, Atom("gzip"))
    terms = {
        "json": {"a": [1, -1, 1 << 80, 1.5, True, Atom("null")], "b\"\\\n\u00e9": {}, "": []},
        "revisions": tree,
        "by-id": ("doc", (9, 0, (40, 50), tree)),
        "by-seq": (9, ("doc", 0, (40, 50), tree)),
        "by-seq-old": (9, ("doc", [((2, b"\2" * 16), 7, 4242)], [])),
        "local": ("_local/x", (3, {"a": 1})),
        "attachment": attachment,
        "attachment-extended": (attachment, [(Atom("headers"), [])]),
        "deep": None,
    }
    for name, value in terms.items():
        encoded = b"\x83" + (term(value) if value is not None else b"l\0\0\0\1" * 300 + b"j" * 301)
        packed = zlib.compress(encoded[1:])
        put("couch_term", name, encoded)
        put("couch_compressed", f"deflated-{name}", b"\2" + struct.pack(">I", len(encoded) - 1) + packed)
        # Snappy's form of what it could not shrink: a length, then one literal.
        length = len(encoded)
        short = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        put("couch_compressed", f"snappy-{name}", b"\1" + short + b"\xf4" + struct.pack("<H", length - 1) + encoded)
    put("couch_compressed", "plain", b"\0" + b"some text, some text" * 9)

    a, b = "00000000-7fffffff", "80000000-ffffffff"
    shard_map = {"shard_suffix": list(b".1795229456"), "changelog": [["add", a, "a@b"], ["split", a, [a, b], "c@d"], ["x", 7]],
                 "by_node": {"a@b": [a, b], "n@h": [a]}, "by_range": {a: ["a@b", "n@h"], b: ["a@b"]},
                 "props": {"partitioned": True}}
    put("couch_shard_map", "two-ranges", b"\x83" + term(shard_map))
    put("couch_shard_map", "clash", b"\x83" + term({"by_node": {"a@b": [a], "c@d": [b]}, "by_range": {a: ["a@b", "c@d"]}}))
    put("couch_shard_map", "other", b"\x83" + term({"validate_doc_update": "function"}))
    # The first byte says how many nodes there are.
    put("couch_layout", "three-nodes", b"\0\x83" + term(shard_map))
    put("couch_layout", "one-node", b"\2\x83" + term(shard_map))
    twice = list(shard_map.items()) + [("changelog", [["add", b, "n@h"]])]
    put("couch_layout", "changelog-twice", b"\1\x83" + term((twice,)))


if __name__ == "__main__":
    couch_files()
    couch_terms()
    outside()
    manifests()
    for fixture in ["restic-0.14-version-1", "restic-0.14-version-2", "restic-0.14-differing", "rustic-0.11-version-2"]:
        real_files(fixture)
    edge_cases()
