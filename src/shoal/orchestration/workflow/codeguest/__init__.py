"""What runs in the box beside code that is tried: it needs the standard library only."""
