"""What work took adds exactly, in every field."""

from __future__ import annotations

from shoal import Usage


def test_every_field_is_added() -> None:
    names = Usage.__struct_fields__
    one = Usage(**{name: number for number, name in enumerate(names, 1)})
    ten = Usage(**{name: 10 * number for number, name in enumerate(names, 1)})
    assert one + ten == Usage(**{name: 11 * number for number, name in enumerate(names, 1)})
