"""The store in one SQLite file; ``store.SqliteStore`` is the whole of it."""
