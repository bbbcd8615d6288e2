"""The conformance suite of the Store port: every backend passes it, and a third party's can.

Subclass each class in a test file as ``TestSomething`` and give the file a fixture ``store`` that returns a store of
your backend, new, empty and not yet opened::

    import pytest
    from shoal.testing import store_suite

    @pytest.fixture
    def store(tmp_path):
        return MyStore(tmp_path / "my.db")

    class TestAgents(store_suite.AgentsContract): ...
    class TestConversations(store_suite.ConversationsContract): ...
    class TestDependencies(store_suite.DependenciesContract): ...
    class TestEvents(store_suite.EventsContract): ...
    class TestFailedMail(store_suite.FailedMailContract): ...
    class TestJournal(store_suite.JournalContract): ...
    class TestKV(store_suite.KVContract): ...
    class TestLeases(store_suite.LeasesContract): ...
    class TestMail(store_suite.MailContract): ...
    class TestPausedMail(store_suite.PausedMailContract): ...
    class TestQueue(store_suite.QueueContract): ...
    class TestRunBudgets(store_suite.RunBudgetsContract): ...
    class TestRunStore(store_suite.RunStoreContract): ...
    class TestRunWriter(store_suite.RunWriterContract): ...
    class TestTasks(store_suite.TasksContract): ...
    class TestTogether(store_suite.TogetherContract): ...

The tests open and close the store themselves. A store reads no clock, so no test waits.
"""

from __future__ import annotations

from shoal.testing.store_agents import AgentsContract
from shoal.testing.store_conversations import ConversationsContract
from shoal.testing.store_dependencies import DependenciesContract
from shoal.testing.store_events import EventsContract
from shoal.testing.store_failed_mail import FailedMailContract
from shoal.testing.store_kv import KVContract
from shoal.testing.store_leases import JournalContract, LeasesContract
from shoal.testing.store_mail import MailContract
from shoal.testing.store_paused_mail import PausedMailContract
from shoal.testing.store_queue import QueueContract
from shoal.testing.store_run_budgets import RunBudgetsContract
from shoal.testing.store_run_life import RunStoreContract
from shoal.testing.store_runs import RunWriterContract
from shoal.testing.store_tasks import TasksContract
from shoal.testing.store_together import TogetherContract

__all__ = [
    "AgentsContract",
    "ConversationsContract",
    "DependenciesContract",
    "EventsContract",
    "FailedMailContract",
    "JournalContract",
    "KVContract",
    "LeasesContract",
    "MailContract",
    "PausedMailContract",
    "QueueContract",
    "RunBudgetsContract",
    "RunStoreContract",
    "RunWriterContract",
    "TasksContract",
    "TogetherContract",
]
