-- Runs, and what belongs to one: it refers to it by ``run``, which is ``runs.seq``.
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,            -- order of beginning
    run_id TEXT NOT NULL UNIQUE,
    pattern TEXT NOT NULL,
    input TEXT NOT NULL,
    status TEXT NOT NULL,
    budget TEXT,
    usage TEXT,
    label TEXT,
    node_id TEXT,                       -- who carries it out now
    hold INTEGER NOT NULL,              -- the token of the last that did, 0 for a fork that was not begun
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    error TEXT,
    stopped TEXT,
    user_id TEXT NOT NULL,
    context TEXT,
    seed TEXT NOT NULL,                 -- a whole number of any size
    seconds REAL NOT NULL DEFAULT 0,
    parent_account TEXT,
    forked_from TEXT,
    cancel_asked TEXT                   -- the reason for which somebody wants its holder to cancel it
);
CREATE INDEX runs_by_status ON runs (status);
CREATE INDEX runs_unfinished ON runs (pattern) WHERE finished_at IS NULL;
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_by_node ON runs (node_id) WHERE node_id IS NOT NULL;

CREATE TABLE run_steps (
    seq INTEGER PRIMARY KEY,            -- order of recording
    run INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    agent_name TEXT,
    input_sha256 TEXT,
    output TEXT,
    error TEXT,
    usage TEXT,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (run, key)
);

CREATE TABLE run_results (
    run INTEGER PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE run_events (
    run INTEGER NOT NULL,
    feed TEXT NOT NULL,                 -- '' for the run's own, else the id of a stream
    offset INTEGER NOT NULL,
    path TEXT NOT NULL,
    type TEXT NOT NULL,
    agent_name TEXT,
    data TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (run, feed, offset)
) WITHOUT ROWID;

CREATE TABLE run_streams (
    stream TEXT PRIMARY KEY,
    run INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_streams_by_run ON run_streams (run);

CREATE TABLE accounts (
    account_id TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    parent TEXT,
    budget TEXT NOT NULL,
    spent TEXT,
    held TEXT,                          -- the sum of its open reservations
    lost TEXT,
    warned REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX accounts_by_run ON accounts (run);

CREATE TABLE reservations (
    run INTEGER NOT NULL,
    key TEXT NOT NULL,
    account_id TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE TABLE approvals (
    seq INTEGER PRIMARY KEY,            -- order of asking
    id TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL,
    step TEXT NOT NULL,
    agent_name TEXT,
    kind TEXT NOT NULL,
    tool TEXT,
    arguments TEXT,
    sha256 TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER,
    decision TEXT,
    decided_by TEXT,
    decided_at INTEGER,
    note TEXT
);
CREATE INDEX approvals_by_run ON approvals (run);
CREATE INDEX approvals_undecided ON approvals (run) WHERE decision IS NULL;
