-- What the migrations add up to; a test holds it to them.

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

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    owner TEXT,                         -- NULL: free; the row stays so that its token never falls
    token INTEGER NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;

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
    UNIQUE (recipient_id, message_id)
);

CREATE INDEX mail_done ON mail (done_at) WHERE done_at IS NOT NULL;

CREATE INDEX mail_expiring ON mail (expires_at) WHERE expires_at IS NOT NULL AND node_id IS NULL AND done_at IS NULL;

CREATE INDEX mail_held ON mail (node_id) WHERE node_id IS NOT NULL;

CREATE INDEX mail_waiting ON mail (recipient_id, seq, due_at) WHERE node_id IS NULL AND done_at IS NULL;

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
    lost INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

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
