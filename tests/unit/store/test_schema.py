"""The schema file is the sum of the migrations, and the tables hold the fields of the records."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import msgspec
import pytest

import shoal.store.sqlite
from shoal.kernel.agent import AgentInstance
from shoal.kernel.budget import Account
from shoal.kernel.event import Event
from shoal.kernel.message import DeadLetter
from shoal.kernel.ports import Child, Lease, Node, SharedValue, Step
from shoal.kernel.run import Approval, RunEvent, RunRecord, RunStep
from shoal.kernel.task import Task

ROOT = Path(shoal.store.sqlite.__file__).parent
_OBJECTS = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name"

# Fields that live elsewhere, or are only known while the runtime runs.
ELSEWHERE: dict[type[msgspec.Struct], set[str]] = {
    AgentInstance: {
        "task_id", "task_ids", "groups", "capabilities", "mailbox_size", "consecutive_errors", "last_seen",
        "memory_mb", "cpu_seconds", "standby",
    },
    SharedValue: {"deleted"},
    RunEvent: {"run_id"},
    Account: {"run_id"},
    Approval: {"run_id"},
}  # fmt: skip


def _database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        connection.execute(migration.read_text())
    return connection


def test_the_schema_file_is_the_sum_of_the_migrations() -> None:
    written = apsw.Connection(":memory:")
    written.execute((ROOT / "schema.sql").read_text())
    assert _plain(written) == _plain(_database())


def _plain(connection: apsw.Connection) -> list[tuple[str, str]]:
    """Return names and statements without comments and layout, which ``ALTER TABLE`` puts elsewhere."""
    return [
        (str(name), re.sub(r"\s*([(),])\s*", r"\1", " ".join(re.sub(r"--[^\n]*", "", str(sql)).split())))
        for name, sql in connection.execute(_OBJECTS).fetchall()
    ]


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("tasks", Task), ("agents", AgentInstance), ("events", Event), ("dead_letters", DeadLetter), ("steps", Step),
        ("kv", SharedValue), ("nodes", Node), ("children", Child), ("leases", Lease),
        ("runs", RunRecord), ("run_steps", RunStep), ("run_events", RunEvent), ("accounts", Account),
        ("approvals", Approval),
    ],
)  # fmt: skip
def test_each_field_has_its_column(table: str, record: type[msgspec.Struct]) -> None:
    columns = {row[1] for row in _database().execute(f"PRAGMA table_info({table})")}
    fields = {field.name for field in msgspec.structs.fields(record)}
    assert fields - columns - ELSEWHERE.get(record, set()) == set()
