-- What was measured of an app's environment in five minutes. Kept for a day.
CREATE TABLE measurements (
    app_id      INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment TEXT NOT NULL,
    at          INTEGER NOT NULL, -- the start of the five minutes
    errors      INTEGER NOT NULL,
    latencies   BLOB NOT NULL,    -- see gateway/latency.rs
    memory      INTEGER,
    cpu         INTEGER,
    PRIMARY KEY (app_id, environment, at)
) STRICT, WITHOUT ROWID;
