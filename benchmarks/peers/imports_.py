"""The cost of importing a peer."""

from benchmarks.imports import cost

__all__ = ["cost"]
