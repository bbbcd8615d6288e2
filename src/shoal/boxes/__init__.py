"""Code that runs outside the runtime's own process, and can talk to it."""
