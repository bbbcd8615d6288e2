-- What the migrations add up to; a test holds it to them.

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

CREATE TABLE agent_capabilities (
    capability TEXT NOT NULL,           -- as it was written
    folded TEXT NOT NULL,               -- as it is compared
    agent_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (agent_id, position)
) WITHOUT ROWID;

CREATE INDEX agent_capabilities_by_word ON agent_capabilities (folded);

CREATE TABLE agent_states (
    agent_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE agents (
    seq INTEGER PRIMARY KEY,            -- order of registration
    agent_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    node_id TEXT,
    process_id INTEGER,
    isolation TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    registered_at INTEGER NOT NULL,     -- the last time
    config TEXT,
    metadata TEXT,
    error_message TEXT,
    queued_reason TEXT,
    restart_count INTEGER NOT NULL DEFAULT 0
);

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

CREATE TABLE children (
    node_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    agent_id TEXT,
    PRIMARY KEY (node_id, pid)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    recipient_id TEXT NOT NULL,
    message TEXT NOT NULL,
    reason TEXT NOT NULL,
    error TEXT,
    at INTEGER NOT NULL
);

CREATE INDEX dead_letters_by_message ON dead_letters (message_id);

CREATE TABLE events (
    event_id INTEGER PRIMARY KEY,
    timestamp INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    severity TEXT NOT NULL,
    agent_id TEXT,
    task_id TEXT,
    run_id TEXT,
    node_id TEXT,
    details TEXT
);

CREATE INDEX events_by_agent ON events (agent_id) WHERE agent_id IS NOT NULL;

CREATE INDEX events_by_node ON events (node_id) WHERE node_id IS NOT NULL;

CREATE INDEX events_by_run ON events (run_id) WHERE run_id IS NOT NULL;

CREATE INDEX events_by_task ON events (task_id) WHERE task_id IS NOT NULL;

CREATE INDEX events_by_type ON events (event_type);

CREATE INDEX events_of_note ON events (event_id, severity) WHERE severity <> 'info';

CREATE TABLE group_members (
    name TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    position INTEGER NOT NULL,          -- order of joining
    registered INTEGER NOT NULL,        -- 1: named at registration, so the next registration says it anew
    PRIMARY KEY (name, agent_id)
) WITHOUT ROWID;

CREATE INDEX group_members_by_agent ON group_members (agent_id);

CREATE TABLE groups (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE kv (
    key TEXT PRIMARY KEY,
    value TEXT,                         -- NULL: deleted; the row stays to tell those who watch
    version INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT,
    expires_at INTEGER,
    change INTEGER NOT NULL UNIQUE      -- rises with every write of any key; the newest is never removed
) WITHOUT ROWID;

CREATE INDEX kv_deleted ON kv (updated_at) WHERE value IS NULL;

CREATE INDEX kv_expiring ON kv (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE lease_waiters (
    seq INTEGER PRIMARY KEY,            -- order of asking
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL,             -- who does not ask again before then has gone
    UNIQUE (name, owner)
);

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT,                         -- NULL: free; the row stays so that its token never falls
    token INTEGER NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX leases_ended ON leases (until);

CREATE TABLE mail (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
    recipient_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    message TEXT,                       -- NULL once done: the row stays a while so that a repeated send is known
    durable INTEGER NOT NULL,
    expires_at INTEGER,
    ttl_left INTEGER,                   -- time left to live while its recipient is paused; expires_at is NULL then
    due_at INTEGER,                     -- not before this time, after a failed delivery
    deliveries INTEGER NOT NULL DEFAULT 0,  -- how often it was handed out
    node_id TEXT,                       -- who holds it now
    done_at INTEGER,                    -- acknowledged or given up
    failures INTEGER NOT NULL DEFAULT 0,    -- how often it was tried after a hand-out, and not handled
    begun INTEGER,                      -- the last hand-out, as deliveries counts them, whose handler was noted as begun
    begun_at INTEGER,                   -- when
    UNIQUE (recipient_id, message_id)
);

CREATE INDEX mail_done ON mail (done_at) WHERE done_at IS NOT NULL;

CREATE INDEX mail_expiring ON mail (expires_at) WHERE expires_at IS NOT NULL AND node_id IS NULL AND done_at IS NULL;

CREATE INDEX mail_held ON mail (node_id) WHERE node_id IS NOT NULL;

CREATE INDEX mail_waiting ON mail (recipient_id, seq, due_at) WHERE node_id IS NULL AND done_at IS NULL;

CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,               -- order within the thread, from 1
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    agent_name TEXT,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    UNIQUE (thread_id, seq)
);

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE nodes (
    node_id TEXT PRIMARY KEY,
    runtime_id TEXT NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    lost INTEGER NOT NULL DEFAULT 0,
    draining REAL,                      -- seconds that its work was given when it was told to leave; NULL: it was not
    load REAL NOT NULL DEFAULT 0,
    agents INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE reservations (
    run INTEGER NOT NULL,
    key TEXT NOT NULL,
    account_id TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

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

CREATE TABLE run_results (
    run INTEGER PRIMARY KEY,
    value TEXT NOT NULL
);

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

CREATE TABLE run_streams (
    stream TEXT PRIMARY KEY,
    run INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX run_streams_by_run ON run_streams (run);

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

CREATE INDEX runs_by_node ON runs (node_id) WHERE node_id IS NOT NULL;

CREATE INDEX runs_by_status ON runs (status);

CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX runs_unfinished ON runs (pattern) WHERE finished_at IS NULL;

CREATE TABLE steps (
    seq INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    digest TEXT,
    at INTEGER NOT NULL,
    UNIQUE (scope, key)
);

CREATE TABLE task_counts (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    pending INTEGER NOT NULL DEFAULT 0,
    ready INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE task_deps (
    dependency_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (dependency_id, task_id)
) WITHOUT ROWID;

CREATE INDEX task_deps_by_task ON task_deps (task_id);

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,            -- order of submission
    task_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    ready INTEGER,                      -- pending: 1 ready, 0 waits for dependencies, 2 waits for not_before; else NULL
    ready_at INTEGER,                   -- when it became ready, for those that wait too long
    blockers INTEGER NOT NULL DEFAULT 0,
    target TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL,
    input_data TEXT,
    output_data TEXT,
    dependencies TEXT,
    parent_id TEXT,
    root_id TEXT,
    agent TEXT,
    capability TEXT,
    "group" TEXT,
    assigned_agent_id TEXT,
    node_id TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    not_before INTEGER,
    timeout_seconds REAL,
    max_retries INTEGER NOT NULL DEFAULT 0,
    retry TEXT,
    retry_count INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    on_dependency_failure TEXT NOT NULL DEFAULT 'fail',
    idempotency_key TEXT,
    metadata TEXT,
    progress REAL,
    progress_note TEXT,
    checkpoint TEXT,
    error_type TEXT,
    error_message TEXT,
    error_details TEXT,
    interruptions INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    unroutable INTEGER                  -- 1 once task_unroutable was written
);

CREATE INDEX tasks_by_status ON tasks (status);

CREATE INDEX tasks_children ON tasks (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX tasks_family ON tasks (root_id, priority, seq) WHERE ready = 1 AND root_id IS NOT NULL;

CREATE INDEX tasks_finished ON tasks (target, completed_at) WHERE completed_at IS NOT NULL;

CREATE UNIQUE INDEX tasks_idempotency ON tasks (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE INDEX tasks_oldest ON tasks (target, ready_at, seq) WHERE ready = 1;

CREATE INDEX tasks_ready ON tasks (target, priority, seq) WHERE ready = 1;

CREATE INDEX tasks_unrouted ON tasks (target) WHERE ready = 1 AND unroutable IS NULL AND agent IS NULL AND target > '';

CREATE INDEX tasks_waiting ON tasks (not_before) WHERE ready = 2;

CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    agent_name TEXT,
    title TEXT NOT NULL,
    metadata TEXT,
    archived INTEGER NOT NULL DEFAULT 0,
    parent_id TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX threads_by_agent ON threads (agent_name, updated_at) WHERE agent_name IS NOT NULL;

CREATE INDEX threads_by_user ON threads (user_id, updated_at);

CREATE TABLE user_contexts (
    user_id TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
