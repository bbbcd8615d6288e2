"""``shoal doctor``."""

from __future__ import annotations

import asyncio

from shoal.cli.options import Json, Store, url_of
from shoal.cli.show import document

__all__ = ["doctor"]

_SIGNS = {"ok": "ok", "note": "note", "problem": "PROBLEM", "absent": "-"}


def doctor(store: Store = None, json: Json = False) -> int:
    """Find out what works on this machine, and why not. Each line was tried or measured just now.

    It writes nothing to the store, and no node hears of it. The bus is that of SHOAL_BUS, else the one that goes with the
    store: how long the way to its server and back took, and what the server takes at once. The speed of the disk is
    measured with a file that has no name; the isolation levels each run a task, on a store in memory. Ends with 1 when
    something that Shoal needs does not work.

    \b
    Example:
      shoal doctor --store /var/lib/agents/shoal.db
    """
    from shoal.machine import examine

    findings = asyncio.run(examine(url_of(store)))
    if json:
        document(findings)
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_SIGNS[finding.state]:<8} {finding.name:<{width}}  {finding.text}")
            if finding.advice:
                print(f"{'':<{width + 11}}{finding.advice}")
    return 1 if any(finding.state == "problem" for finding in findings) else 0
