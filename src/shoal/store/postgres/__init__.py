"""The store in PostgreSQL: the same nouns, over a driver of its own."""
