-- Links that open an app's draft or preview to whoever has them, until they end. Of their secrets, and of those of
-- passes, only a hash is kept.
CREATE TABLE preview_links (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    place      TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX preview_links_by_app ON preview_links (app_id, id DESC);

-- What a browser's cookie on the host of a draft or a preview stands for: that it came by a session or by a link. It is
-- good for as long as that is.
CREATE TABLE preview_passes (
    hash       TEXT PRIMARY KEY,
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    place      TEXT NOT NULL,
    session    TEXT,
    link       INTEGER REFERENCES preview_links (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    CHECK ((session IS NULL) <> (link IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX preview_passes_by_app ON preview_passes (app_id);
CREATE INDEX preview_passes_by_link ON preview_passes (link);
CREATE INDEX preview_passes_by_end ON preview_passes (expires_at);
