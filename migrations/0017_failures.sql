-- How many failed checks a user chose to ignore for this release; publishing and rolling back keep the number.
ALTER TABLE releases ADD COLUMN ignored_checks INTEGER NOT NULL DEFAULT 0;
-- How many of a turn's calls that change files were refused.
ALTER TABLE turns ADD COLUMN failed_edits INTEGER NOT NULL DEFAULT 0;
