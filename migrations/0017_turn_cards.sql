-- How many failed checks a user chose to ignore for this release; publishing and rolling back keep the number.
ALTER TABLE releases ADD COLUMN ignored_checks INTEGER NOT NULL DEFAULT 0;
-- How many of a turn's calls that change files were refused.
ALTER TABLE turns ADD COLUMN failed_edits INTEGER NOT NULL DEFAULT 0;
-- The files that a turn changed, with their lines added and removed: JSON.
ALTER TABLE turns ADD COLUMN changes TEXT NOT NULL DEFAULT '[]';
-- For a restored version: the version whose files it has.
ALTER TABLE versions ADD COLUMN restores TEXT;
UPDATE versions SET restores = (
    SELECT earlier.id FROM versions earlier
    WHERE earlier.app_id = versions.app_id AND versions.title = 'Restore version ' || earlier.number
)
WHERE kind = 'restore';
