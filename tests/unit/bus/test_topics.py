from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.bus.topics import TopicIndex
from shoal.kernel.message import topic_matches

_words = st.sampled_from(["a", "b", "c"])
_topics = st.lists(_words, min_size=1, max_size=4).map(".".join)
_patterns = st.builds(
    lambda words, rest: ".".join([*words, ">"] if rest else words),
    st.lists(st.sampled_from(["a", "b", "c", "*"]), min_size=1, max_size=4),
    st.booleans(),
)
_changes = st.lists(st.tuples(st.sampled_from(["add", "remove", "drop"]), st.sampled_from("xyz"), _patterns, _topics))


@given(_changes)
def test_the_index_finds_what_matching_every_pattern_finds(
    changes: list[tuple[str, str, str, str]],
) -> None:
    index = TopicIndex()
    model: set[tuple[str, str]] = set()
    topics = {topic for *_, topic in changes}
    for verb, address, pattern, _ in changes:
        if verb == "add":
            assert index.add(address, pattern) is ((address, pattern) not in model)
            model.add((address, pattern))
        elif verb == "remove":
            assert index.remove(address, pattern) is ((address, pattern) in model)
            model.discard((address, pattern))
        else:
            index.drop(address)
            model = {pair for pair in model if pair[0] != address}
        for topic in topics:
            found = index.subscribers(topic)
            assert len(found) == len(set(found))
            assert set(found) == {who for who, pattern in model if topic_matches(pattern, topic)}
        assert set(index.pairs()) == model
    for address in "xyz":
        index.drop(address)
    assert not index._root.children  # nothing is left behind


def test_the_cache_of_topics_does_not_grow_without_end() -> None:
    index = TopicIndex()
    index.add("x", "*")
    for number in range(10_000):
        assert index.subscribers(f"t{number}") == ("x",)
    assert len(index._cache) <= 4096


def test_a_topic_of_very_many_words_is_no_trouble() -> None:
    index = TopicIndex()
    long = ".".join(["a"] * 20_000)
    index.add("x", long)
    index.add("y", ">")
    assert set(index.subscribers(long)) == {"x", "y"}
    index.drop("x")
    assert index.subscribers(long) == ("y",)
