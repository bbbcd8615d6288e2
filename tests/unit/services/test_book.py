"""The records of agents from outside, by all that they are looked up by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.services import AgentInfo
from shoal.services.book import Book
from shoal.services.outsiders import Outsider, Seen
from tests.support.registries import info, registry
from tests.support.servers import Echo

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("a", "b", "c")


def seen(uuid: str, name: str, *words: str) -> Seen:
    about = AgentInfo.of(info(name, *words))
    return Seen(
        Outsider(uuid=uuid, info=about, address=None, owner="", ttl=1.0, registered_at=NOW, renewed_at=NOW), 1, 0
    )


@given(
    st.lists(st.tuples(st.sampled_from("1234"), st.sampled_from("xy"), st.sets(st.sampled_from(WORDS), min_size=1))),
    st.sets(st.sampled_from("1234")),
    st.frozensets(st.sampled_from(WORDS)),
)
def test_it_finds_what_a_look_at_all_of_them_finds(puts: list[Any], drops: set[str], wanted: frozenset[str]) -> None:
    book, kept = Book(), {}
    for uuid, name, words in puts:
        kept[uuid] = seen(uuid, name, *words)
        book.put(kept[uuid])
    for uuid in drops:
        kept.pop(uuid, None)
        book.drop(uuid)
    everyone = list(kept.values())
    assert len(book) == len(everyone)
    assert {id(each) for each in book.all()} == {id(each) for each in everyone}
    assert {id(each) for each in book.able(wanted)} == {id(each) for each in everyone if wanted <= each.words}
    for name in "xy":
        assert {id(each) for each in book.named(name)} == {id(each) for each in everyone if each.record.name == name}
    for each in everyone:
        assert book.at(each.record.instance) is each is book.get(each.outsider.uuid)
    if not everyone:
        assert not any((book._seen, book._instances, book._names, book._words)), "nothing of what has gone stays"


def test_requests_do_not_look_at_everybody_from_outside(
    store_url: str, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    alive = Seen.alive

    def counted(self: Seen, now: float) -> bool:
        nonlocal looks
        looks += 1
        return alive(self, now)

    async def main() -> None:
        nonlocal looks
        async with registry(store_url) as (runtime, http):
            await runtime.services.start(Echo)
            for number in range(40):
                assert (await http.post("/register", json=info(f"other{number}", "other"))).status_code == 201
            monkeypatch.setattr(Seen, "alive", counted)
            await runtime.services.request("echo", {"n": 1})
            await runtime.services.discover("echo")
            assert looks < 5

    run(main)
