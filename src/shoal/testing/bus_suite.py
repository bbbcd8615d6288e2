"""The conformance suite of the Bus port: every backend passes it, and a third party's can.

Subclass :class:`BusSuite` in a test file as ``TestSomething`` and give it ``buses``.
"""

from __future__ import annotations

from shoal.testing.bus_contract import BusContract
from shoal.testing.bus_messages import MessagesContract
from shoal.testing.bus_publishing import PublishingContract
from shoal.testing.bus_questions import QuestionsContract

__all__ = ["BusSuite"]


class BusSuite(BusContract, MessagesContract, QuestionsContract, PublishingContract):
    """What every bus keeps."""
