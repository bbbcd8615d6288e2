"""What runs in the child. Importing any of it needs the standard library only."""
