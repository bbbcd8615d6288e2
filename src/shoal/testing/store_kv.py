"""The contract of ``KV``."""

from __future__ import annotations

import asyncio

import pytest

from shoal.errors import VersionConflictError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import SharedValue, Store
from shoal.testing.store_frame import T0, at, contract

__all__ = ["KVContract"]

_VALUES: tuple[object, ...] = (None, False, 0, 2**63, -1.5, "", "ä\x00😀", [], {}, {"a": [1, {"b": None}]})


class KVContract:
    """Small shared values with versions."""

    @contract
    async def test_values_come_back_equal(self, store: Store) -> None:
        for place, value in enumerate(_VALUES):
            assert await store.kv.set(f"k{place}", value, now=T0, by="me") == 1
            entry = store.kv.get(f"k{place}", now=T0)
            assert entry == SharedValue(key=f"k{place}", value=value, version=1, updated_at=T0, updated_by="me")

    @contract
    async def test_versions_count_writes_of_one_key(self, store: Store) -> None:
        assert [await store.kv.set("a", n, now=at(n)) for n in range(3)] == [1, 2, 3]
        assert await store.kv.set("b", 0, now=T0) == 1
        entry = store.kv.get("a", now=at(9))
        assert entry is not None and (entry.value, entry.version, entry.updated_at) == (2, 3, at(2))
        assert store.kv.get("c", now=T0) is None

    @contract
    async def test_compare_and_set(self, store: Store) -> None:
        assert await store.kv.set("a", 1, now=T0, expected=0) == 1
        with pytest.raises(VersionConflictError) as conflict:
            await store.kv.set("a", 2, now=T0, expected=0)
        assert (conflict.value.key, conflict.value.expected, conflict.value.actual) == ("a", 0, 1)
        with pytest.raises(VersionConflictError):
            await store.kv.set("b", 2, now=T0, expected=1)
        assert store.kv.get("b", now=T0) is None
        assert await store.kv.set("a", 2, now=T0, expected=1) == 2

    @contract
    async def test_of_many_writers_that_expect_one_version_one_wins(self, store: Store) -> None:
        await store.kv.set("a", -1, now=T0)
        writes = [store.kv.set("a", n, now=T0, expected=1) for n in range(10)]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [result for result in results if result == 2] == [2]
        assert sum(isinstance(result, VersionConflictError) for result in results) == 9
        entry = store.kv.get("a", now=T0)
        assert entry is not None and entry.value == 0, "the write that was called first comes first"

    @contract
    async def test_a_deleted_key_is_gone_and_starts_again_at_1(self, store: Store) -> None:
        await store.kv.set("a", 1, now=T0)
        await store.kv.set("a", 2, now=T0)
        with pytest.raises(VersionConflictError):
            await store.kv.delete("a", now=T0, expected=1)
        assert await store.kv.delete("a", now=T0, expected=2) is True
        assert store.kv.get("a", now=T0) is None
        assert store.kv.keys("", now=T0) == []
        assert await store.kv.delete("a", now=T0) is False
        assert await store.kv.set("a", 3, now=T0, expected=0) == 1

    @contract
    async def test_an_expired_key_counts_as_absent(self, store: Store) -> None:
        await store.kv.set("a", 1, now=T0)
        await store.kv.set("a", 2, now=T0, expires_at=at(10))
        assert store.kv.get("a", now=at(9)) is not None
        assert store.kv.get("a", now=at(10)) is None
        assert store.kv.keys("", now=at(9)) == ["a"]
        assert store.kv.keys("", now=at(10)) == []
        with pytest.raises(VersionConflictError) as conflict:
            await store.kv.set("a", 3, now=at(10), expected=2)
        assert conflict.value.actual == 0
        assert await store.kv.delete("a", now=at(10)) is False
        assert await store.kv.set("a", 3, now=at(10), expected=0) == 1
        assert store.kv.get("a", now=at(99)) is not None, "a write without a time ends the old one"

    @contract
    async def test_keys_by_prefix_are_sorted_and_exact(self, store: Store) -> None:
        names = ["a", "a.b", "a.b.c", "a_b", "a%b", "A", "ab", "b", "é", "éa", "\uffff", "😀", "😀a", "\ud7ff", "a\x00"]
        for name in names:
            await store.kv.set(name, 1, now=T0)
        for prefix in ("", "a", "a.", "a_", "a%", "é", "\ud7ff", "😀", "zz", "a\x00", "\U0010ffff"):
            assert list(store.kv.keys(prefix, now=T0)) == sorted(n for n in names if n.startswith(prefix)), prefix

    @contract
    async def test_changes_tell_the_newest_of_each_key_once(self, store: Store) -> None:
        assert store.kv.changes("", 0) == ([], 0)
        for key in ("x.a", "x.b", "y", "x.a"):
            await store.kv.set(key, key, now=T0)
        await store.kv.delete("x.b", now=at(5))
        changed, newest = store.kv.changes("x.", 0)
        assert [(c.key, c.version, c.deleted) for c in changed] == [("x.a", 2, False), ("x.b", 1, True)]
        assert changed[1].value is None and changed[1].updated_at == at(5)
        assert store.kv.changes("", newest) == ([], newest)
        await store.kv.set("x.b", 1, now=T0)
        await store.kv.set("y", 2, now=T0)
        changed, later = store.kv.changes("x.", newest)
        assert [(c.key, c.deleted) for c in changed] == [("x.b", False)]
        assert later > newest

    @contract
    async def test_pruning_never_hides_a_later_change(self, store: Store) -> None:
        for key in ("a", "b"):
            await store.kv.set(key, 1, now=T0)
            await store.kv.delete(key, now=T0)
        _, newest = store.kv.changes("", 0)
        await store.prune(at(1000), limit=1000)
        assert store.kv.changes("", newest)[0] == []
        await store.kv.set("c", 1, now=at(1000))
        assert [c.key for c in store.kv.changes("", newest)[0]] == ["c"]

    @contract
    async def test_a_commit_of_a_value_is_announced(self, store: Store) -> None:
        heard = asyncio.Event()
        undo = store.on_commit(heard.set)
        await store.kv.set("a", 1, now=T0)
        async with RealClock().timeout(10):
            await heard.wait()
        undo()
