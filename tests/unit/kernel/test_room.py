"""Free lanes by target word: the same answers as from a list of all slots, whatever came and went."""

from __future__ import annotations

import random

import pytest

from shoal.kernel.room import Room, Slot

WORDS = ["", "capability:a", "capability:b", "group:x", "group:y"]


class Listed:
    """The same from one list that is searched through, the one idle longest first."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []

    def put(self, agent_id: str, slots: list[Slot], at_end: bool) -> None:
        before = [slot for slot in self.slots if slot.agent_id == agent_id]
        own = [slot for slot in slots if slot.root_id is None]
        stays = not at_end and own and before and before[0].targets == own[0].targets
        if stays:
            self.slots[self.slots.index(before[0])] = own[0]
        else:
            self.slots = [slot for slot in self.slots if slot.agent_id != agent_id] + own

    def takers(self, word: str) -> list[Slot]:
        return [slot for slot in self.slots if word in slot.targets]

    @property
    def words(self) -> list[str]:
        return sorted({word for slot in self.slots for word in slot.targets})


def some_slots(chance: random.Random, agent_id: str) -> list[Slot]:
    targets = ("", f"agent:{agent_id}", *chance.sample(WORDS[1:], chance.randint(0, 2)))
    slots = []
    if chance.random() < 0.7:
        slots.append(Slot(agent_id=agent_id, targets=targets, free=chance.randint(1, 3)))
    if chance.random() < 0.2:
        slots.append(Slot(agent_id=agent_id, targets=targets, root_id="r"))
    return slots


@pytest.mark.parametrize("seed", range(20))
def test_it_answers_as_a_list_does(seed: int) -> None:
    chance = random.Random(seed)
    room, listed = Room(), Listed()
    lent: dict[str, list[Slot]] = {}
    agents = [f"a{n}" for n in range(8)]
    words = [*WORDS, *(f"agent:{agent_id}" for agent_id in agents)]
    for _ in range(200):
        agent_id, at_end = chance.choice(agents), chance.random() < 0.5
        slots = some_slots(chance, agent_id)
        room.put(agent_id, slots, at_end=at_end)
        listed.put(agent_id, slots, at_end)
        lent[agent_id] = [slot for slot in slots if slot.root_id is not None]
        for word in words:
            assert list(room.takers(word)) == listed.takers(word)
            assert room.lanes(word) == sum(slot.free for slot in listed.takers(word))
            assert room.next_word(word) == min((w for w in listed.words if w >= word), default=None)
            assert room.next_word(word, after=True) == min((w for w in listed.words if w > word), default=None)
        assert sorted(map(repr, room.lent)) == sorted(repr(slot) for slots in lent.values() for slot in slots)
        assert bool(room) == bool(listed.slots or any(lent.values()))


def test_who_keeps_a_free_lane_keeps_its_place_until_a_lane_comes_free() -> None:
    first, second = (Slot(agent_id=name, targets=("",), free=2) for name in ("first", "second"))
    room = Room([first, second])
    less = Slot(agent_id="first", targets=("",))
    room.put("first", [less])
    assert list(room.takers("")) == [less, second]
    room.put("first", [first], at_end=True)
    assert list(room.takers("")) == [second, first]
