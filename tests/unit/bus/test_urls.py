from __future__ import annotations

from pathlib import Path

import pytest

from shoal.bus import open_bus
from shoal.bus.nats import NatsBus
from shoal.bus.places import NatsPlace, PostgresPlace
from shoal.bus.postgres import PostgresBus
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock


def test_the_buses_open() -> None:
    clock = RealClock()
    assert isinstance(open_bus("nats://localhost", clock=clock), NatsBus)
    assert isinstance(open_bus("tls://localhost", clock=clock), NatsBus)
    assert isinstance(open_bus("postgres://localhost/x", clock=clock), PostgresBus)


def test_a_url_of_nats_says_hosts_credentials_and_namespace() -> None:
    place = NatsPlace("nats://me:p%40ss@one:4333,two,[::1]:4444/team-1")
    assert place.options() == {
        "servers": ["nats://one:4333", "nats://two:4222", "nats://[::1]:4444"],
        "user": "me",
        "password": "p@ss",
    }
    assert place.namespace == "team-1"
    assert place.url.where == "nats://one:4333,two:4222,[::1]:4444"
    assert NatsPlace("nats://secret@one").options() == {"servers": ["nats://one:4222"], "token": "secret"}
    assert NatsPlace("nats://one?namespace=x").namespace == "x"
    assert NatsPlace("nats://one").namespace == "shoal"
    assert NatsPlace("nats://one").tls is None
    assert NatsPlace("tls://one").tls is not None


def test_credentials_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my.creds"
    file.write_text("")
    assert NatsPlace(f"nats://one?creds={file}").options()["user_credentials"] == str(file)


def test_a_url_of_postgresql_says_the_schema_and_leaves_the_rest_to_the_driver() -> None:
    place = PostgresPlace("postgresql://me:pw@one,two:5433/db?schema=team&sslmode=require")
    assert place.schema == "team"
    assert place.dsn == "postgresql://me:pw@one,two:5433/db?sslmode=require"
    assert place.where == "PostgreSQL at postgresql://one:5432,two:5433/db"
    assert PostgresPlace("postgresql://one/db").schema == "shoal"
    assert PostgresPlace("postgresql://one/db").dsn == "postgresql://one/db"
    assert PostgresPlace("postgresql:///db?host=/run/x&schema=a").dsn == "postgresql:///db?host=%2Frun%2Fx"


@pytest.mark.parametrize(
    ("url", "texts"),
    [
        ("nats://", ["bus: nats:// names no host"]),
        ("nats://one:port", ["the port of 'one' must be 1 to 65535, not 'port'"]),
        ("nats://one:0,:4222", ["the port of 'one' must be 1 to 65535, not '0'", "bus: ':4222' names no host"]),
        ("nats://one:70000/a.b?creds=/x", ["not '70000'", "no file '/x'", "not 'a.b'"]),
        ("nats://one/a.b", ["the namespace of nats:// must be 1 to 48 letters, digits, _ or -, not 'a.b'"]),
        ("nats://one/a?namespace=b", ["the namespace stands twice"]),
        (
            "nats://one?namespce=b&x=1",
            ["no option 'namespce'; did you mean 'namespace'?", "no option 'x'", "creds, ca, cert, key"],
        ),
        (
            "tls://one?cert=/no/cert&creds=/no/creds",
            [
                "cert and key belong together",
                "cert: there is no file '/no/cert'",
                "creds: there is no file '/no/creds'",
            ],
        ),
        ("postgresql://me:secret@", ["bus: postgresql:// names no host"]),
        ("postgresql://one/db?schema=A%20b", ["the schema of postgresql:// must be", "not 'A b'"]),
        ("redis://me:secret@one", ["'one' names no known bus"]),
    ],
)
def test_every_fault_of_a_url_is_named_and_no_password(url: str, texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_bus(url, clock=RealClock())
    for text in texts:
        assert text in str(caught.value)
    assert "secret" not in str(caught.value)


def test_files_that_make_no_tls_are_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigError, match="ca, cert and key make no TLS"):
        open_bus(f"tls://one?ca={file}", clock=RealClock())
