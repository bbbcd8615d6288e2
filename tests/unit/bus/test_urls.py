from __future__ import annotations

from pathlib import Path

import pytest
from nkeys import PREFIX_BYTE_USER, encode_seed

from shoal.bus import open_bus
from shoal.bus.nats import NatsBus
from shoal.bus.places import NatsPlace, PostgresPlace
from shoal.bus.postgres import PostgresBus
from shoal.errors import BusError, ConfigError
from shoal.kernel.clock import RealClock

SEED = encode_seed(bytes(range(32)), PREFIX_BYTE_USER).decode()


def test_the_buses_open() -> None:
    clock = RealClock()
    assert isinstance(open_bus("nats://localhost", clock=clock), NatsBus)
    assert isinstance(open_bus("tls://localhost", clock=clock), NatsBus)
    assert isinstance(open_bus("postgres://localhost/x", clock=clock), PostgresBus)


def test_a_url_of_nats_says_hosts_credentials_and_namespace() -> None:
    place = NatsPlace("nats://me:p%40ss@one:4333,two,[::1]:4444/team-1")
    assert place.servers == ["nats://one:4333", "nats://two:4222", "nats://[::1]:4444"]
    assert place.options() == {"user": "me", "password": "p@ss"}
    assert place.namespace == "team-1"
    assert place.url.where == "nats://one:4333,two:4222,[::1]:4444"
    assert NatsPlace("nats://secret@one").options() == {"token": "secret"}
    assert NatsPlace("nats://one?namespace=x").namespace == "x"
    assert NatsPlace("nats://one").namespace == "shoal"
    assert NatsPlace("nats://one").tls is None
    assert NatsPlace("tls://one").tls is not None


def test_credentials_may_stand_in_a_file(tmp_path: Path) -> None:
    file, key = tmp_path / "my.creds", tmp_path / "my.nk"
    file.write_text(f"-----BEGIN NATS USER JWT-----\na.b.c\n---\n-----BEGIN USER NKEY SEED-----\n{SEED}\n---\n")
    key.write_text(f"{SEED}\n")
    place = NatsPlace(f"nats://one?creds={file}")
    assert str(place.options()["user_credentials"]) == file.read_text()
    assert NatsPlace(f"nats://one?nkey={key}").options()["nkeys_seed_str"] == SEED
    assert NatsPlace(f"nats://one?nkey={file}").options()["nkeys_seed_str"] == SEED
    file.write_text("other")  # while the node runs: the next connection is refused, and not looked for for ever
    with pytest.raises(BusError, match="does not hold the JWT and the seed"):
        place.options()


@pytest.mark.parametrize("option", ["creds", "nkey"])
@pytest.mark.parametrize("text", ["", "nonsense", SEED[:-1] + "A", SEED.replace("SU", "SA"), SEED[:20], "ü"])
def test_a_file_without_credentials_is_a_fault(tmp_path: Path, option: str, text: str) -> None:
    file = tmp_path / "my.creds"
    file.write_text(f"BEGIN NATS USER JWT\na.b.c\nBEGIN USER NKEY SEED\n{text}\n" if option == "creds" else text)
    with pytest.raises(ConfigError, match=f"bus: {option}: ") as caught:
        NatsPlace(f"nats://one?{option}={file}")
    assert SEED[4:16] not in str(caught.value)


def test_a_url_of_postgresql_says_the_schema_and_leaves_the_rest_to_the_driver() -> None:
    place = PostgresPlace("postgresql://me:pw@one,two:5433/db?schema=team&sslmode=require")
    assert place.schema == "team"
    one, two = (f"postgresql://me:pw@{host}/db?sslmode=require" for host in ("one", "two:5433"))
    assert place.hosts.urls == (one, two)
    assert place.where == "PostgreSQL at postgresql://one:5432,two:5433/db"
    assert PostgresPlace("postgresql://one/db").schema == "shoal"
    assert PostgresPlace("postgresql://one/db").hosts.urls == ("postgresql://one/db",)
    assert PostgresPlace("postgresql:///db?host=/run/x&schema=a").hosts.urls == ("postgresql:///db?host=%2Frun%2Fx",)


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
            ["no option 'namespce'; did you mean 'namespace'?", "no option 'x'", "creds, nkey, ca, cert, key"],
        ),
        (
            "tls://one?cert=/no/cert&creds=/no/creds",
            [
                "cert and key belong together",
                "cert: there is no file '/no/cert'",
                "creds: there is no file '/no/creds'",
            ],
        ),
        ("nats://me@one?creds=/x", ["user or token, creds and nkey are three ways", "creds: there is no file '/x'"]),
        ("nats://me:secret/x@one", ["/ and ? within user or password must be written as %2F and %3F"]),
        ("nats://me:secret?x@one", ["/ and ? within user or password must be written as %2F and %3F"]),
        ("postgresql://me:secret@", ["bus: postgresql:// names no host"]),
        ("postgresql://me:se@secret@one/db", ["@ / ? # within user or password be written as %40"]),
        ("postgresql://me:pw@one/db?sslmod=require", ["bus: there is no option 'sslmod'; did you mean 'sslmode'?"]),
        ("postgresql://me:pw@one/db?sslmode=verify_full", ["sslmode must be one of disable, allow,", "'verify_full'"]),
        (
            "postgresql://me:pw@one/db?sslrootcert=/no/ca&sslkey=/no/key",
            [
                "sslkey stands without sslcert",
                "sslrootcert: there is no file '/no/ca'",
                "sslkey: there is no file",
            ],
        ),
        ("postgresql://one/db?schema=A%20b", ["the schema of postgresql:// must be", "not 'A b'"]),
        ("redis://me:secret@one", ["'redis://one' names no known bus"]),
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
