-- Who requested a job: `person`, `slipway`, or `token:ID`. NULL in jobs that are older than this column.
ALTER TABLE jobs ADD COLUMN author TEXT;
