"""Where a store in PostgreSQL is: what its URL says, what is wrong with it, and never a password."""

from __future__ import annotations

import pytest

from shoal.config import shown, store_url
from shoal.errors import ConfigError
from shoal.store import open_store
from shoal.store.postgres.address import address_of


def test_options_are_left_to_the_driver_but_for_the_schema() -> None:
    address = address_of("postgresql://me:p%40ss@one,two:5433/db?schema=team&sslmode=require&application_name=x")
    assert address.hosts.urls == tuple(
        f"postgresql://me:p%40ss@{host}/db?sslmode=require&application_name=x" for host in ("one", "two:5433")
    )
    assert (address.schema, address.url) == ("team", shown(address.url))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("mysql://me:secret@one/db", "no URL of PostgreSQL"),
        ("postgresql://me:secret@one", "names no database"),
        ("postgresql://me:secret@[one/db", "is no URL: Invalid IPv6 URL"),
        ("postgresql://me:secret@one/db?schema=A", "schema 'A' must be small letters"),
        ("postgresql://me:se@secret@one/db", "@ / ? # within user or password be written as %40 %2F %3F %23"),
        ("postgresql://me:secret/x@one/db", "be written as %40 %2F %3F %23"),
        ("postgresql://me:secret?x@one/db", "names no database"),
        ("postgresql://me:secret#x@one/db", "names no database"),
        ("postgresql://me:secret@one:port/db", "hosts must be HOST or HOST:PORT"),
        ("postgresql://me:secret@one/db?sslmode=always", "sslmode must be one of disable, allow, prefer"),
        ("postgresql://me:secret@one/db?sslrootcert=/no/ca.pem", "sslrootcert: there is no file '/no/ca.pem'"),
        ("postgresql://me@one/db?passfile=/no/pass&password=secret", "passfile: there is no file '/no/pass'"),
        ("postgresql://me@one/db?password=secret&schema=A", "schema 'A' must be"),
        (
            "postgresql://me:secret@one/db?sslmod=require",
            "there is no option 'sslmod'; did you mean 'sslmode'?; allowed:",
        ),
        ("postgresql://me:secret@one/db?SSLMode=require", "no option 'SSLMode'; did you mean 'sslmode'?"),
        ("postgresql://me:secret@one/db?shema=team", "no option 'shema'; did you mean 'schema'?"),
        ("postgresql://me@one/db?pasword=secret", "no option 'pasword'; did you mean 'password'?"),
    ],
)
def test_every_fault_is_named_and_no_password(url: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address_of(url)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_only_the_server_knows_is_left_to_it() -> None:
    names = ("search_path", "statement_timeout", "application_name", "options", "ssl_mode.of_an_extension", "role")
    address_of("postgresql://one/db?" + "&".join(f"{name}=1" for name in names))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://me:secret@one/db", "postgresql://me:***@one/db"),
        ("postgresql://me:se@cret@one/db", "postgresql://me:***@one/db"),
        ("postgresql://me:se/cret@one/db", "postgresql://me:***@one/db"),
        ("postgresql://me@one:5432/db", "postgresql://me@one:5432/db"),
        ("postgresql://one/db?user=me&password=secret&schema=x", "postgresql://one/db?user=me&password=***&schema=x"),
        ("postgresql://one/db?sslpassword=secret", "postgresql://one/db?sslpassword=***"),
        ("nats://secret@one:4222/x", "nats://***@one:4222/x"),
        ("tls://me:secret@one/x", "tls://me:***@one/x"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_what_people_read_has_no_password(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    "url", ["postgresq://me:secret@one/db", "postgresql:/me:secret@one/db", "postgres:me:secret@one/db"]
)
def test_a_misspelt_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://HOST/DATABASE") as caught:
        open_store(store_url(None, url))
    assert "secret" not in str(caught.value)
