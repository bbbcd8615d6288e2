-- A node that was told to leave in order, and how busy each says it is.
ALTER TABLE nodes ADD COLUMN draining REAL;
ALTER TABLE nodes ADD COLUMN load REAL NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN agents INTEGER NOT NULL DEFAULT 0;
