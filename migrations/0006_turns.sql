-- At start-up turns that nobody will end are looked for.
CREATE INDEX turns_open ON turns (state, job_id) WHERE state IN ('queued', 'running');
