-- The last group that each writer has written: who lost the answer to a commit looks here whether it came about. (An id of
-- a transaction would not do: one that was not on disk when the server crashed is given again.)
CREATE TABLE writers (
    writer TEXT COLLATE "C" PRIMARY KEY,
    number BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 50);
