"""All texts come back as they were given, and in the order of their code points."""

from __future__ import annotations

import asyncio

from shoal.store import open_store
from shoal.testing.store_queue_frame import NOW

EDGES = (
    "", "\0", "\0\0", "\0\x01", "\0a", "\x01", "\x01\0", "\x01\x01", "\x01\x02", "\x02", " ", "A", "Z", "a", "a\0", "a\0b",
    "a\x01", "ab", "\x7f", "\x80", "é", "ß", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "😀", "\U0010ffff",
)  # fmt: skip


def test_nul_and_all_of_unicode(postgres_url: str) -> None:
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))

    async def main() -> None:
        store = open_store(postgres_url)
        await store.open()
        for text in EDGES:
            await store.kv.set(f"key:{text}", {text: [text, every if text == "é" else text]}, now=NOW)
        assert list(store.kv.keys("key:", now=NOW)) == sorted(f"key:{text}" for text in EDGES)
        for text in EDGES:
            found = store.kv.get(f"key:{text}", now=NOW)
            assert found is not None and found.value == {text: [text, every if text == "é" else text]}
            below = [f"key:{other}" for other in sorted(EDGES) if other.startswith(text)]
            assert list(store.kv.keys(f"key:{text}", now=NOW)) == below
        await store.close()

    asyncio.run(main())
