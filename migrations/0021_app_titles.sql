-- The title that pages show instead of the app's name. NULL: its name is shown.
ALTER TABLE apps ADD COLUMN title TEXT;
