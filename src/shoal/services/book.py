"""The records of agents from outside that a node has seen, by all that they are looked up by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shoal.services.outsiders import Seen

__all__ = ["Book"]


class Book:
    """Records by id, instance, name and capability: what is looked up is found without looking at all the others.

    Anybody who may register fills it, and every request by a name asks it.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._instances: dict[str, str] = {}
        self._names: dict[str, dict[str, Seen]] = {}  # by the service's name, then by id
        self._words: dict[str, dict[str, Seen]] = {}  # by capability, then by id

    def __len__(self) -> int:
        return len(self._seen)

    def all(self) -> Iterator[Seen]:
        """Yield all."""
        return iter(self._seen.values())

    def get(self, uuid: str) -> Seen | None:
        """Return the one with this id."""
        return self._seen.get(uuid)

    def at(self, address: str) -> Seen | None:
        """Return the one with this id or instance."""
        return self._seen.get(address) or self._seen.get(self._instances.get(address, ""))

    def named(self, name: str) -> Iterator[Seen]:
        """Yield those of a service's name."""
        return iter(self._names.get(name, {}).values())

    def able(self, words: frozenset[str]) -> Iterator[Seen]:
        """Yield those that have all *words*; only those that have the rarest are looked at."""
        rarest: Mapping[str, Seen] = min((self._words.get(word, {}) for word in words), key=len, default=self._seen)
        return (seen for seen in rarest.values() if words <= seen.words)

    def put(self, seen: Seen) -> None:
        """Take a record in, in place of the one before it."""
        uuid = seen.outsider.uuid
        self.drop(uuid)
        self._seen[uuid] = seen
        self._instances[seen.record.instance] = uuid
        for index, key in self._places(seen):
            index.setdefault(key, {})[uuid] = seen

    def drop(self, uuid: str) -> None:
        """Forget a record."""
        seen = self._seen.pop(uuid, None)
        if seen is None:
            return
        if self._instances.get(seen.record.instance) == uuid:
            del self._instances[seen.record.instance]
        for index, key in self._places(seen):
            del index[key][uuid]
            if not index[key]:
                del index[key]

    def _places(self, seen: Seen) -> Iterator[tuple[dict[str, dict[str, Seen]], str]]:
        yield self._names, seen.record.name
        for word in seen.words:
            yield self._words, word
