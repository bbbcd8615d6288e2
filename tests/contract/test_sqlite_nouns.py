"""The SQLite store, in a file and in memory, passes the conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing import store_suite


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/shoal.db" if request.param == "file" else "sqlite://:memory:")


class TestAgents(store_suite.AgentsContract):
    pass


class TestConversations(store_suite.ConversationsContract):
    pass


class TestFailedMail(store_suite.FailedMailContract):
    pass


class TestMail(store_suite.MailContract):
    pass


class TestPausedMail(store_suite.PausedMailContract):
    pass


class TestEvents(store_suite.EventsContract):
    pass


class TestKV(store_suite.KVContract):
    pass
