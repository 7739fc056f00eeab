-- Times are milliseconds since the Unix epoch, UTC. Words are those of the API.
CREATE TABLE apps (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that events of a deleted app find no heir
    name        TEXT NOT NULL UNIQUE,
    template    TEXT NOT NULL,
    description TEXT NOT NULL,
    head        TEXT,
    deleting    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX apps_by_activity ON apps (updated_at DESC, id DESC);

CREATE TABLE environments (
    app_id      INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'none',
    release     INTEGER,
    PRIMARY KEY (app_id, environment)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    app_id      INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    PRIMARY KEY (app_id, environment, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    title      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    turn_id    INTEGER,
    files      INTEGER NOT NULL,
    additions  INTEGER NOT NULL,
    deletions  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX versions_by_id ON versions (app_id, id);

CREATE TABLE turns (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id             INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number             INTEGER NOT NULL,
    prompt             TEXT NOT NULL,
    mode               TEXT NOT NULL,
    state              TEXT NOT NULL,
    job_id             INTEGER,
    version            TEXT,
    files              INTEGER NOT NULL DEFAULT 0,
    additions          INTEGER NOT NULL DEFAULT 0,
    deletions          INTEGER NOT NULL DEFAULT 0,
    input_tokens       INTEGER NOT NULL DEFAULT 0,
    output_tokens      INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens  INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd           REAL,
    note               TEXT,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    finished_at        INTEGER,
    UNIQUE (app_id, number)
) STRICT;

-- What went over the wire, so that the next turn goes on from it.
CREATE TABLE messages (
    turn_id  INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    message  TEXT NOT NULL, -- JSON
    PRIMARY KEY (turn_id, position)
) STRICT, WITHOUT ROWID;

-- No reference to apps: the job that deletes an app is there to be read afterwards.
CREATE TABLE jobs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id           INTEGER NOT NULL,
    app_name         TEXT NOT NULL,
    kind             TEXT NOT NULL,
    payload          TEXT NOT NULL, -- JSON
    state            TEXT NOT NULL,
    attempts         INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    steps            TEXT NOT NULL DEFAULT '[]', -- JSON
    error            TEXT, -- JSON
    result           TEXT, -- JSON
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER
) STRICT;
CREATE INDEX jobs_by_app ON jobs (app_id, id);
CREATE INDEX jobs_open ON jobs (state, app_id, id) WHERE state IN ('queued', 'running');

CREATE TABLE releases (
    app_id       INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment  TEXT NOT NULL,
    number       INTEGER NOT NULL,
    version      TEXT NOT NULL,
    image        TEXT NOT NULL,
    spec         TEXT NOT NULL, -- JSON
    state        TEXT NOT NULL,
    job_id       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    settled_at   INTEGER,
    from_release INTEGER,
    rolled_back  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, environment, number)
) STRICT, WITHOUT ROWID;

-- A row covers the ids first_id..=id: pieces of one text are joined once their job has ended,
-- and `pieces` says where each of them ended, so that a reader can go on between two.
CREATE TABLE events (
    id       INTEGER PRIMARY KEY,
    first_id INTEGER NOT NULL,
    app_id   INTEGER NOT NULL,
    job_id   INTEGER,
    name     TEXT NOT NULL,
    data     TEXT NOT NULL, -- JSON
    pieces   TEXT           -- JSON: [[id, bytes of the text up to and with it], …]
) STRICT;
CREATE INDEX events_by_app ON events (app_id, id);
CREATE INDEX events_by_job ON events (job_id, id);

CREATE TABLE runs (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id      INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment TEXT NOT NULL,
    release     INTEGER NOT NULL,
    trigger     TEXT NOT NULL,
    state       TEXT NOT NULL,
    exit_code   INTEGER,
    error       TEXT,
    log         TEXT NOT NULL DEFAULT '',
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX runs_by_app ON runs (app_id, id);

-- Of sessions and tokens only a hash is kept.
CREATE TABLE sessions (
    hash       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
