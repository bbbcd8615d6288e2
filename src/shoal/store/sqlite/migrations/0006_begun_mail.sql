-- The hand-out (its number in deliveries) whose handler was noted as begun, and when: its node's death is its failure.
ALTER TABLE mail ADD COLUMN begun INTEGER;
ALTER TABLE mail ADD COLUMN begun_at INTEGER;
