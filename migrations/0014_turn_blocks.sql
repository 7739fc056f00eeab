-- What a turn did, kept when it has ended: its events are forgotten after a while, and reading them costs more.
CREATE TABLE turn_blocks (
    turn_id  INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    block    TEXT NOT NULL, -- JSON
    PRIMARY KEY (turn_id, position)
) STRICT, WITHOUT ROWID;

-- Which app was served last, and how many jobs there are of each kind, without a look at all of them.
CREATE INDEX jobs_by_start ON jobs (app_id, started_at);
CREATE INDEX jobs_by_kind ON jobs (kind, state);
