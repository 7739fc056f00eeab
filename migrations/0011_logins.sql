-- Sessions from before have no number and no known password: their browsers log in once more.
DELETE FROM sessions;
ALTER TABLE sessions ADD COLUMN id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN last_used_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT ''; -- of the last use
ALTER TABLE sessions ADD COLUMN browser TEXT NOT NULL DEFAULT ''; -- as it names itself
CREATE UNIQUE INDEX sessions_by_id ON sessions (id);

-- By what the admin password is recognised at the next start: an HMAC under a key that is not in this database.
CREATE TABLE admin_password (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    verifier   TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

-- Tokens from before could do everything, and had no end: they keep the first and get the second.
ALTER TABLE api_tokens ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE api_tokens ADD COLUMN app_id INTEGER REFERENCES apps (id) ON DELETE CASCADE;
ALTER TABLE api_tokens ADD COLUMN expires_at INTEGER; -- null: no end
UPDATE api_tokens SET expires_at = (unixepoch() + 90 * 86400) * 1000;
CREATE INDEX api_tokens_by_app ON api_tokens (app_id);
