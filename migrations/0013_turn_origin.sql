-- Why a turn exists, what shows the failure that it is about, and which choice of a question it answers: what code decides
-- by stands here, and no prompt is read for it.
ALTER TABLE turns ADD COLUMN origin TEXT NOT NULL DEFAULT 'person'; -- person, continue, repair, fix
ALTER TABLE turns ADD COLUMN continues INTEGER;                     -- for 'continue': the turn that was cut short
ALTER TABLE turns ADD COLUMN evidence TEXT;                         -- JSON: {"source", "text"}
ALTER TABLE turns ADD COLUMN answer TEXT;                           -- "<turn>-<number of the choice>"

-- Earlier turns, as far as their prompts say it. Prompts that Slipway wrote hold the evidence between two marks:
-- <material-1234abcd from="…">, a line break, the text, </material-1234abcd>.
UPDATE turns SET origin = 'repair' WHERE repair_of IS NOT NULL;

UPDATE turns SET origin = 'fix'
WHERE repair_of IS NULL AND prompt LIKE '%</material-________>'
  AND (prompt LIKE '% could not be deployed. Find the cause and fix it.' || char(10) || char(10) || '<material-________ from="deployment: %'
    OR prompt LIKE 'A browser that had the % open reported %. Find the cause and fix it.' || char(10) || char(10) || '<material-________ from="a browser''s console">%');

WITH marked AS (
    SELECT id, substr(prompt, instr(prompt, char(10) || char(10) || '<material-') + 2) AS rest
    FROM turns
    WHERE origin IN ('repair', 'fix') AND instr(prompt, char(10) || char(10) || '<material-') > 0
), parts AS (
    SELECT id,
           substr(rest, 26, instr(rest, '">' || char(10)) - 26) AS source,
           substr(rest, instr(rest, '">' || char(10)) + 3) AS text,
           instr(substr(rest, instr(rest, '">' || char(10)) + 3), '</' || substr(rest, 2, 17) || '>') AS ends
    FROM marked
    WHERE instr(rest, '">' || char(10)) > 26
)
UPDATE turns SET evidence = json_object('source', parts.source, 'text', rtrim(substr(parts.text, 1, parts.ends - 1), char(10)))
FROM parts
WHERE parts.id = turns.id AND parts.ends > 0;

UPDATE turns SET prompt = substr(prompt, 1, instr(prompt, char(10) || char(10)) - 1)
WHERE (origin = 'repair' OR evidence IS NOT NULL) AND instr(prompt, char(10) || char(10)) > 1;

UPDATE turns SET origin = 'continue', continues = (
    SELECT max(earlier.id) FROM turns earlier
    WHERE earlier.app_id = turns.app_id AND earlier.id < turns.id AND earlier.started_at IS NOT NULL
)
WHERE origin = 'person' AND prompt = 'Go on where you stopped.' AND EXISTS (
    SELECT 1 FROM turns earlier
    WHERE earlier.app_id = turns.app_id AND earlier.id < turns.id AND earlier.started_at IS NOT NULL
);

-- An answer was the message after a question, in the words of one of its choices.
WITH asked AS (
    SELECT turns.id, turns.prompt, (
        SELECT max(earlier.id) FROM turns earlier
        WHERE earlier.app_id = turns.app_id AND earlier.id < turns.id AND earlier.started_at IS NOT NULL
    ) AS asker
    FROM turns
    WHERE turns.origin = 'person'
)
UPDATE turns SET answer = asked.asker || '-' || (choice.key + 1)
FROM asked
JOIN turns asker ON asker.id = asked.asker AND asker.question IS NOT NULL
JOIN json_each(asker.question, '$.choices') choice ON choice.value = asked.prompt
WHERE asked.id = turns.id;
