-- How often a message was handed out and not handled: hand-outs alone also count what a stop gave back.
ALTER TABLE mail ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
