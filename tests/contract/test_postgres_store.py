"""The PostgreSQL store passes the conformance suite."""

from __future__ import annotations

import itertools

import pytest

from shoal.cluster import PostgresServer
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing import store_suite

_schemas = itertools.count(1)


@pytest.fixture
def store(postgres_server: PostgresServer) -> Store:
    return open_store(f"{postgres_server.url}?schema=suite_{next(_schemas)}")


class TestAgents(store_suite.AgentsContract):
    pass


class TestConversations(store_suite.ConversationsContract):
    pass


class TestDependencies(store_suite.DependenciesContract):
    pass


class TestEvents(store_suite.EventsContract):
    pass


class TestFailedMail(store_suite.FailedMailContract):
    pass


class TestJournal(store_suite.JournalContract):
    pass


class TestKV(store_suite.KVContract):
    pass


class TestLeases(store_suite.LeasesContract):
    pass


class TestMail(store_suite.MailContract):
    pass


class TestPausedMail(store_suite.PausedMailContract):
    pass


class TestQueue(store_suite.QueueContract):
    pass


class TestRunBudgets(store_suite.RunBudgetsContract):
    pass


class TestRunStore(store_suite.RunStoreContract):
    pass


class TestRunWriter(store_suite.RunWriterContract):
    pass


class TestTasks(store_suite.TasksContract):
    pass


class TestTogether(store_suite.TogetherContract):
    pass
