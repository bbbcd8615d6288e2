"""The peers, each behind the same few functions. They live in an environment of their own and import nothing of Shoal."""
