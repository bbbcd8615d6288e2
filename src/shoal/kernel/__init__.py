"""The kernel: nouns, loops and ports. It imports nothing of Shoal but ``errors``."""
