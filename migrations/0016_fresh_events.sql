-- What turns emit token by token, until it moves to `events`. No index, so that a row costs little.
CREATE TABLE fresh_events (
    id     INTEGER PRIMARY KEY,
    app_id INTEGER NOT NULL,
    job_id INTEGER,
    name   TEXT NOT NULL,
    data   TEXT NOT NULL -- JSON
) STRICT;
