-- How a turn ended and what it asks; what it began from.
ALTER TABLE turns ADD COLUMN reason TEXT;     -- a word: asked, cap_steps, same_error, …
ALTER TABLE turns ADD COLUMN question TEXT;   -- JSON
ALTER TABLE turns ADD COLUMN base TEXT;       -- the version that it found
ALTER TABLE turns ADD COLUMN compaction TEXT; -- JSON: how far the conversation is told shorter
CREATE INDEX turns_by_day ON turns (app_id, started_at);

-- Files that the model may not change, and a person only after unlocking them.
CREATE TABLE file_locks (
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    path       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app_id, path)
) STRICT, WITHOUT ROWID;
