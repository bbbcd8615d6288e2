-- Programs that know no migration of this number or a later one are refused: what they need has been taken away.
ALTER TABLE schema_version ADD COLUMN settled BIGINT NOT NULL DEFAULT 0;
