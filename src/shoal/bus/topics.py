"""Who subscribed to what: a trie of words, and a cache of the topics that were asked for."""

from __future__ import annotations

from shoal.kernel.message import check_topic, topic_matches

__all__ = ["TopicIndex"]

_CACHED_TOPICS = 4096


class _Node:
    __slots__ = ("addresses", "children")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.addresses: dict[str, None] = {}  # a dict keeps the order of subscription, a set does not


class TopicIndex:
    """Subscriptions of addresses to patterns (words by dots, ``*`` one word, a last ``>`` the rest)."""

    def __init__(self) -> None:
        self._root = _Node()
        self._patterns: dict[str, dict[str, None]] = {}  # by address
        self._cache: dict[str, tuple[str, ...]] = {}  # holds what _find would return now, for each of its topics

    def add(self, address: str, pattern: str) -> bool:
        """Add a subscription; False when it was there. Raises ValueError for a pattern that is none."""
        check_topic(pattern, pattern=True)
        patterns = self._patterns.setdefault(address, {})
        if pattern in patterns:
            return False
        patterns[pattern] = None
        node = self._root
        for word in pattern.split("."):
            node = node.children.setdefault(word, _Node())
        node.addresses[address] = None
        self._forget(pattern)
        return True

    def remove(self, address: str, pattern: str) -> bool:
        """End a subscription; False when it was not there."""
        patterns = self._patterns.get(address)
        if patterns is None or pattern not in patterns:
            return False
        del patterns[pattern]
        if not patterns:
            del self._patterns[address]
        self._prune(address, pattern)
        self._forget(pattern)
        return True

    def drop(self, address: str) -> None:
        """End all subscriptions of an address."""
        for pattern in list(self._patterns.get(address, ())):
            self.remove(address, pattern)

    def pairs(self) -> list[tuple[str, str]]:
        """Return every subscription as (address, pattern)."""
        return [(address, pattern) for address, patterns in self._patterns.items() for pattern in patterns]

    def subscribers(self, topic: str) -> tuple[str, ...]:
        """Return the addresses subscribed to *topic*, each once. Raises ValueError for a topic that is none."""
        found = self._cache.get(topic)
        if found is None:
            check_topic(topic)
            if len(self._cache) >= _CACHED_TOPICS:
                self._cache.clear()
            found = self._cache[topic] = self._find(topic)
        return found

    def _find(self, topic: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        level = [self._root]
        for word in topic.split("."):
            for node in level:
                if rest := node.children.get(">"):
                    found.update(rest.addresses)
            level = [child for node in level for key in (word, "*") if (child := node.children.get(key))]
        for node in level:
            found.update(node.addresses)
        return tuple(found)

    def _prune(self, address: str, pattern: str) -> None:
        path = [self._root]
        words = pattern.split(".")
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].addresses[address]
        for word, parent, node in zip(reversed(words), reversed(path[:-1]), reversed(path[1:]), strict=True):
            if node.addresses or node.children:
                return
            del parent.children[word]

    def _forget(self, pattern: str) -> None:
        if "*" not in pattern and not pattern.endswith(">"):
            self._cache.pop(pattern, None)
            return
        for topic in [each for each in self._cache if topic_matches(pattern, each)]:
            del self._cache[topic]
