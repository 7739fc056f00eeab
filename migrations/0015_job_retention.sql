-- Whether a turn or a release refers to a job, without a look at all of them.
CREATE INDEX turns_by_job ON turns (job_id);
CREATE INDEX releases_by_job ON releases (job_id);

-- How many jobs there are of each kind and state. Triggers keep the counts, so that reading them takes no longer as jobs grow
-- in number.
CREATE TABLE job_counts (
    kind  TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (kind, state)
) STRICT, WITHOUT ROWID;
INSERT INTO job_counts SELECT kind, state, count(*) FROM jobs GROUP BY kind, state;

CREATE TRIGGER job_counts_of_new AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts VALUES (new.kind, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_counts_of_changed AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE kind = old.kind AND state = old.state;
    INSERT INTO job_counts VALUES (new.kind, new.state, 1) ON CONFLICT DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER job_counts_of_deleted AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE kind = old.kind AND state = old.state;
END;
