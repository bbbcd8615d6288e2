-- A node that was told to leave in order, and how busy each says it is.
ALTER TABLE nodes ADD COLUMN draining DOUBLE PRECISION;
ALTER TABLE nodes ADD COLUMN load DOUBLE PRECISION NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN agents BIGINT NOT NULL DEFAULT 0;
