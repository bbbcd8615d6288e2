"""Making tools: functions, decorators, classes; what is wrong is said when they are made."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from shoal.llm.locks import thread_safe_tool
from shoal.llm.toolbox import Toolbox
from shoal.llm.tools import Tool, tool


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


class Writer(Tool):
    """Write a file."""

    timeout = 5.0
    effect = "once"

    async def execute(self, path: str, text: str = "") -> str:
        """Not this.

        Args:
            path: where
        """
        return f"{path}: {len(text)}"


def test_a_function_with_and_without_fields() -> None:
    plain, timed = tool(add), tool(timeout=2, effect="keyed", name="plus")(add)
    assert (plain.spec.name, plain.spec.description, plain.timeout, plain.effect) == (
        "add",
        "Add two numbers.",
        60.0,
        "repeat",
    )
    assert (timed.spec.name, timed.timeout, timed.effect) == ("plus", 2, "keyed")
    assert plain(1, b=3) == 4
    assert repr(timed) == "<Tool plus>"


def test_a_class_with_attributes_and_execute() -> None:
    writer = Writer()
    assert (writer.spec.name, writer.spec.description) == ("Writer", "Write a file.")
    assert writer.spec.parameters["properties"]["path"] == {"type": "string", "description": "where"}
    assert (writer.timeout, writer.effect) == (5.0, "once")
    assert Writer(name="w2", timeout=1).label == "w2"
    assert [spec.name for spec in Toolbox([Writer, add]).specs()] == ["Writer", "add"]


def test_a_class_with_a_constructor_of_its_own() -> None:
    class Counter(Tool):
        def __init__(self, start: int) -> None:
            self.count = start

        def execute(self, by: int) -> int:
            """Count on."""
            self.count += by
            return self.count

    box = Toolbox([Counter(3)])
    assert box.specs()[0].description == "Count on."
    assert pickle.loads(pickle.dumps(Writer())).spec == Writer().spec


def test_a_class_behind_a_lock_stays_one() -> None:
    @thread_safe_tool("file", key_arg="path")
    class Locked(Writer):
        pass

    assert Locked().spec.parameters == Writer().spec.parameters


@pytest.mark.spec("O50")
def test_two_tools_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"two tools are named 'add' \(tools\[0\], tools\[2\]\): give one of them"):
        Toolbox([add, Writer, tool(add)])


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"timeout": -1}, ValueError, "tool 'add': timeout=-1: it must be a number of seconds above 0"),
        ({"timeout": None}, ValueError, "timeout=None"),
        ({"effect": "twice"}, ValueError, "effect='twice': it must be 'repeat', 'keyed' or 'once'"),
        ({"approval": "yes"}, ValueError, "approval='yes': it must be True, False or a function"),
        ({"approval_timeout": 0}, ValueError, "approval_timeout=0: it must be above 0, or None"),
        ({"isolation": "box"}, ValueError, "isolation='box': it must be one of inline, thread, process"),
        ({"max_chars": 5}, ValueError, "max_chars=5: it must be a whole number from 100"),
        ({"name": "a b"}, ValueError, "a tool's name is 1 to 64 of letters, digits, '_' and '-', not 'a b'"),
        ({"timeuot": 1}, TypeError, "a Tool has no field 'timeuot'; did you mean 'timeout'?"),
    ],
)
def test_a_bad_field_is_named_with_its_value(fields: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as raised:
        Tool(add, **fields)
    assert words in str(raised.value)


def test_what_is_no_tool() -> None:
    with pytest.raises(TypeError, match=r"tools\[1\] is int: a tool is a function, a Tool or MCPTools"):
        Toolbox([add, 3])
    with pytest.raises(ValueError, match=r"tools\[0\]: a lambda has no name"):
        Toolbox([lambda: 1])
    with pytest.raises(TypeError, match="Empty has no method execute"):

        class Empty(Tool):
            pass

        Empty()
    with pytest.raises(TypeError, match="a Tool is made of a function"):
        Tool("add")  # type: ignore[arg-type]

    def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="tool 'numbers' is a generator"):
        Tool(numbers)
