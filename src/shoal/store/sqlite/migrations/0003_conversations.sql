-- Conversations, and those who stand in line for a lease.

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

CREATE INDEX threads_by_user ON threads (user_id, updated_at);

CREATE INDEX threads_by_agent ON threads (agent_name, updated_at) WHERE agent_name IS NOT NULL;

CREATE TABLE user_contexts (
    user_id TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE lease_waiters (
    seq INTEGER PRIMARY KEY,            -- order of asking
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL,             -- who does not ask again before then has gone
    UNIQUE (name, owner)
);

CREATE INDEX leases_ended ON leases (until);
