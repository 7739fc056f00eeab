-- What clearing away an app's old images has freed of the disk, and when it last did.
CREATE TABLE clean_ups (
    app_id      INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    freed_bytes INTEGER NOT NULL, -- the last time
    total_bytes INTEGER NOT NULL, -- over all times
    cleaned_at  INTEGER NOT NULL
) STRICT;
