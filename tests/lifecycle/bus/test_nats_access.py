"""Who gets into a NATS server: by password, token, key or JWT, with TLS or without; who does not hears why, in no secret."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shoal.bus import open_bus
from shoal.errors import BusError
from shoal.kernel.clock import RealClock
from tests.lifecycle.bus.servers import answered, served
from tests.support.certificates import Authority
from tests.support.engines import fresh_folder
from tests.support.natskeys import Key, Operator, user_key

Run = Callable[..., None]


@pytest.fixture
def files() -> Iterator[Path]:
    """A folder for keys and certificates."""
    made = fresh_folder()
    yield made
    shutil.rmtree(made)


async def _refused(url: str, *secrets: str) -> str:
    """Return why the bus at *url* does not start: with a note that says what to do, and without any of *secrets*."""
    with pytest.raises(BusError) as caught:
        await open_bus(url, clock=RealClock()).start("here")
    error: BaseException | None = caught.value
    while error is not None:
        assert not any(secret in f"{error!r} {getattr(error, '__notes__', '')}" for secret in secrets)
        error = error.__cause__ or error.__context__
    assert caught.value.__notes__
    return str(caught.value)


def _written(file: Path, key: Key) -> Path:
    file.write_text(f"{key.seed}\n")
    return file


def test_a_token_or_a_user_with_a_password(run: Run) -> None:
    config = 'authorization { users: [{ user: "me", password: "right-one" }] }'

    async def main() -> None:
        async with served(config) as address:
            await answered(f"nats://me:right-one@{address}/a")
            for who in ("me:wrong-one@", "wrong-one@", ""):
                text = await _refused(f"nats://{who}{address}/a", "wrong-one", "right-one")
                assert "refused this node" in text
        async with served('authorization { token: "right-one" }') as address:
            await answered(f"nats://right-one@{address}/a")
            assert "refused this node" in await _refused(f"nats://wrong-one@{address}/a", "wrong-one", "right-one")

    run(main)


def test_a_key(files: Path, run: Run) -> None:
    mine, other = user_key(), user_key()
    known, unknown = _written(files / "mine.nk", mine), _written(files / "other.nk", other)

    async def main() -> None:
        async with served(f"authorization {{ users: [{{ nkey: {mine.public} }}] }}") as address:
            await answered(f"nats://{address}/a?nkey={known}")
            assert "refused this node" in await _refused(f"nats://{address}/a?nkey={unknown}", other.seed)
            assert "refused this node" in await _refused(f"nats://{address}/a")

    run(main)


def test_a_creds_file(files: Path, run: Run) -> None:
    operator, stranger = Operator(), Operator()
    mine, other = operator.creds(files / "mine.creds"), stranger.creds(files / "other.creds")

    async def main() -> None:
        async with served(operator.config) as address:
            await answered(f"nats://{address}/a?creds={files / 'mine.creds'}")
            text = await _refused(f"nats://{address}/a?creds={files / 'other.creds'}", other.seed, mine.seed)
            assert "refused this node" in text
            assert "refused this node" in await _refused(f"nats://{address}/a")

    run(main)


@pytest.mark.parametrize("picky", [False, True])
def test_tls(files: Path, run: Run, picky: bool) -> None:
    authority, stranger = Authority(files), Authority(files, "stranger")
    server, client = authority.signed("server", host="localhost"), authority.signed("client")
    strange = stranger.signed("strange")
    verify = f'ca_file: "{authority.file}", verify: true' if picky else ""
    tls = f'tls {{ cert_file: "{server.cert}", key_file: "{server.key}", {verify} }}'

    async def main() -> None:
        async with served(f'{tls}\nauthorization {{ token: "right-one" }}') as address:
            known = f"tls://right-one@{address}/a?ca={authority.file}"
            mine = f"&cert={client.cert}&key={client.key}"
            await answered(known + (mine if picky else ""))
            if picky:
                for options in ("", f"&cert={strange.cert}&key={strange.key}"):
                    assert "refused this node" in await _refused(known + options, "right-one")
            other = await _refused(f"tls://right-one@{address}/a?ca={stranger.file}{mine}", "right-one")
            assert "certificate verify failed" in other
            assert "refused this node" in await _refused(known.replace("right-one", "wrong-one") + mine, "wrong-one")
            host = address.replace("127.0.0.1", "127.0.0.2")
            assert "127.0.0.2" in await _refused(f"tls://right-one@{host}/a?ca={authority.file}{mine}", "right-one")

    run(main)
