-- What the metrics and notifications ask of runs.
CREATE INDEX run_by_kind_and_status ON run (kind, status);
CREATE INDEX run_by_end ON run (ended_at);
CREATE INDEX run_by_task ON run (task, id);

-- What each receiver of notifications was told last about each subject.
CREATE TABLE told (
    receiver TEXT NOT NULL,
    subject TEXT NOT NULL,          -- such as `stack NAME`
    state TEXT NOT NULL,            -- JSON
    at INTEGER NOT NULL,
    PRIMARY KEY (receiver, subject)
) STRICT, WITHOUT ROWID;
