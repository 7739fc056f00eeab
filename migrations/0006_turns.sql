-- At start-up turns that nobody will end are looked for.
CREATE INDEX turns_open ON turns (state, job_id) WHERE state IN ('queued', 'running');

-- JSON: what failed in a turn of a person and in what repaired it, and what was tried.
ALTER TABLE turns ADD COLUMN repairs TEXT;
