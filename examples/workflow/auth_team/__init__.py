"""The team that builds a user authentication API, and what its scripted models say."""
