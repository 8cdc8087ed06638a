-- Schema version 1. Texts named state, body, request and response are JSON that the store does not read; times are Unix ms.

-- One row about the file itself.
CREATE TABLE meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    boot_epoch  INTEGER NOT NULL,
    clean       INTEGER NOT NULL CHECK (clean IN (0, 1)),   -- closed in order
    kernel_boot TEXT    NOT NULL,                           -- the machine's boot id when it was opened
    is_backup   INTEGER NOT NULL CHECK (is_backup IN (0, 1)),
    head_pos    INTEGER NOT NULL,                           -- the end of the chain: finds rows cut off at the end
    head_hash   BLOB    NOT NULL CHECK (length(head_hash) = 32)
) STRICT;

CREATE TABLE run (
    ord            INTEGER PRIMARY KEY,                     -- order of creation
    id             TEXT    NOT NULL UNIQUE CHECK (id <> ''),
    kind           TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    state_version  INTEGER NOT NULL,
    state          TEXT    NOT NULL,
    done           INTEGER NOT NULL CHECK (done IN (0, 1)),
    wake_ms        INTEGER,
    party          TEXT CHECK (party <> ''),
    version        INTEGER NOT NULL,
    epoch          INTEGER NOT NULL,
    next_seq       INTEGER NOT NULL,
    owner          TEXT,
    lease_until_ms INTEGER,
    attempts       INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    updated_ms     INTEGER NOT NULL,
    CONSTRAINT nothing_waits_silently CHECK (
        CASE done WHEN 1 THEN wake_ms IS NULL AND party IS NULL
                  ELSE wake_ms IS NOT NULL OR party IS NOT NULL END),
    CONSTRAINT a_lease_has_an_owner_and_an_end CHECK ((owner IS NULL) = (lease_until_ms IS NULL))
) STRICT;
CREATE INDEX run_wake ON run (wake_ms, ord) WHERE wake_ms IS NOT NULL;
CREATE INDEX run_open ON run (ord) WHERE done = 0;
CREATE INDEX run_subject ON run (subject, ord);

-- The event log of all runs in one gap-free order.
CREATE TABLE feed (
    pos       INTEGER PRIMARY KEY CHECK (pos > 0),
    run       TEXT    NOT NULL REFERENCES run (id),
    seq       INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      TEXT    NOT NULL,
    actor     TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    UNIQUE (run, seq)
) STRICT;
-- Against mistakes of ours; a forger is found by the chain.
CREATE TRIGGER feed_is_never_changed BEFORE UPDATE ON feed
BEGIN SELECT RAISE(ABORT, 'the feed is append-only'); END;
CREATE TRIGGER feed_is_never_cut BEFORE DELETE ON feed
BEGIN SELECT RAISE(ABORT, 'the feed is append-only'); END;

CREATE TABLE signal (
    ord              INTEGER PRIMARY KEY,
    id               TEXT    NOT NULL UNIQUE,
    run              TEXT    NOT NULL REFERENCES run (id),
    dedup_key        TEXT    NOT NULL,
    body             TEXT    NOT NULL,
    actor            TEXT    NOT NULL,
    at_ms            INTEGER NOT NULL,
    consumed_version INTEGER,                               -- the run's version that took it in
    UNIQUE (run, dedup_key)
) STRICT;
CREATE INDEX signal_waiting ON signal (run, ord) WHERE consumed_version IS NULL;

CREATE TABLE effect (
    ord         INTEGER PRIMARY KEY,
    key         TEXT    NOT NULL UNIQUE,
    run         TEXT    NOT NULL REFERENCES run (id),
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    request     TEXT    NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('intended', 'done', 'failed', 'superseded')),
    response    TEXT,
    at_ms       INTEGER NOT NULL,
    finished_ms INTEGER,
    CONSTRAINT a_result_is_complete CHECK (
        (status = 'intended') = (response IS NULL) AND (response IS NULL) = (finished_ms IS NULL))
) STRICT;
CREATE INDEX effect_run ON effect (run, ord);

CREATE TABLE document (
    kind TEXT NOT NULL,
    id   TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

CREATE TABLE line (
    ord    INTEGER PRIMARY KEY,
    run    TEXT    NOT NULL REFERENCES run (id),
    key    TEXT    NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    body   TEXT    NOT NULL,
    UNIQUE (run, key, number)
) STRICT;
