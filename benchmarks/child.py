"""One measurement in a process of its own: ``python -m benchmarks.child MODULE:FUNCTION JSON`` prints its figures."""

from __future__ import annotations

import importlib
import json
import sys

MARK = "FIGURES "


def main() -> None:
    """Call the function and print what it returns as one line of JSON after a mark."""
    module, _, name = sys.argv[1].partition(":")
    figures = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    sys.stdout.flush()
    print(f"\n{MARK}{json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
