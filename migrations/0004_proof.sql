-- What a new version was asked before it took traffic, and what it answered: JSON.
ALTER TABLE jobs ADD COLUMN checks TEXT NOT NULL DEFAULT '[]';
-- After a turn the preview is built and deployed by itself.
ALTER TABLE apps ADD COLUMN auto_preview INTEGER NOT NULL DEFAULT 1;
-- A turn that repairs what an earlier one wrote: that turn, and the attempt number of the repair.
ALTER TABLE turns ADD COLUMN repair_of INTEGER;
ALTER TABLE turns ADD COLUMN repair INTEGER;
