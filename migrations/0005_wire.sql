-- Which model answers in an app; null: as the builder is set.
ALTER TABLE apps ADD COLUMN model TEXT;
ALTER TABLE apps ADD COLUMN effort TEXT;

-- Which model answered, and whether its tokens are estimated since its server did not report them.
ALTER TABLE turns ADD COLUMN model TEXT;
ALTER TABLE turns ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;

-- The files that came with a message; their bytes lie in the data directory.
ALTER TABLE turns ADD COLUMN attachments TEXT NOT NULL DEFAULT '[]'; -- JSON

-- What the turns of deleted apps have used: money that was spent stays counted.
CREATE TABLE spent_by_deleted (
    day                TEXT NOT NULL, -- as 2026-11-20, UTC
    model              TEXT NOT NULL,
    turns              INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_usd           REAL NOT NULL,
    unpriced_tokens    INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    PRIMARY KEY (day, model)
) STRICT, WITHOUT ROWID;

-- What every turn that asked a model has used.
CREATE VIEW spending AS
    SELECT app_id, date(coalesce(started_at, created_at) / 1000, 'unixepoch') AS day, coalesce(model, '') AS model,
           1 AS turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
           coalesce(cost_usd, 0.0) AS cost_usd,
           CASE WHEN cost_usd IS NULL THEN input_tokens + output_tokens + cache_read_tokens + cache_write_tokens
                ELSE 0 END AS unpriced_tokens,
           estimated
    FROM turns WHERE input_tokens + output_tokens + cache_read_tokens + cache_write_tokens > 0
    UNION ALL
    SELECT NULL, day, model, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd,
           unpriced_tokens, estimated
    FROM spent_by_deleted;
