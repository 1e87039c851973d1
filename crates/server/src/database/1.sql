-- Times are milliseconds since 1970, UTC.

-- What is kept of a scheduled job: `memory` is JSON of schedule::Memory.
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    memory TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A run: something that was asked for or due, however far it got. Ids grow with time.
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    task TEXT NOT NULL,             -- JSON: what is done
    kind TEXT NOT NULL,
    stack TEXT,
    copy TEXT,
    job TEXT,                       -- the scheduled job that it is of
    cause TEXT NOT NULL,            -- why, in words
    actor TEXT,                     -- who asked for it
    status TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    process TEXT,                   -- JSON: the process, while it runs
    message TEXT,                   -- what went wrong, in short
    hint TEXT,                      -- what to do about it
    summary TEXT                    -- JSON: what the command said at its end
) STRICT, WITHOUT ROWID;
CREATE INDEX run_by_status ON run (status, id);
CREATE INDEX run_by_stack ON run (stack, kind, id);
CREATE INDEX run_by_kind ON run (kind, id);

-- What is known of stacks, snapshots and copies, as the commands told last.
CREATE TABLE known (
    name TEXT PRIMARY KEY,          -- what was asked
    at INTEGER NOT NULL,
    value TEXT NOT NULL             -- JSON
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot (
    id TEXT PRIMARY KEY,
    stack TEXT NOT NULL,
    time INTEGER NOT NULL,
    value TEXT NOT NULL             -- JSON: the line of `lifeboat snapshots`
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_by_time ON snapshot (time);
CREATE INDEX snapshot_by_stack ON snapshot (stack, time);

-- Who may do what.
CREATE TABLE user (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,         -- argon2id, as PHC string
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
    hash BLOB PRIMARY KEY,          -- SHA-256 of what the cookie holds
    user TEXT NOT NULL REFERENCES user (name) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,      -- SHA-256 of the token
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    stacks TEXT,                    -- JSON list; NULL: all
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER
) STRICT, WITHOUT ROWID;
-- The link for the first user, while there is none: SHA-256 of what it holds.
CREATE TABLE setup (
    hash BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done by whom, never changed: each row's hash covers the row before.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    what TEXT NOT NULL,
    outcome TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;
CREATE TRIGGER audit_is_as_written BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;

-- Answers to requests with an Idempotency-Key.
CREATE TABLE answered (
    key TEXT NOT NULL,
    actor TEXT NOT NULL,
    request BLOB NOT NULL,          -- SHA-256 of method, path and body
    at INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
