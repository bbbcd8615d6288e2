"""Hand-ins: JSON, files in blocks, plain words, claims, limits, and hostile texts."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.delivery import Delivery, Dispute, Objection, TestResult
from shoal.orchestration.workflow.handin import HandInError, read_delivery
from shoal.orchestration.workflow.review import Issue, Review

MIB = 1 << 20


def _json(**fields: Any) -> str:
    return json.dumps(fields)


def test_words_without_json_are_the_summary_and_their_items_the_outputs() -> None:
    text = (
        "I looked at it.\n- JWT best practices\n  * Security considerations\n-5 is no item\n```\n- neither is this\n```"
    )
    delivery = read_delivery(text)
    assert delivery.summary == text
    assert delivery.outputs == ("JWT best practices", "Security considerations")
    assert delivery.raw == text
    assert delivery.files == {}


def test_all_fields_of_the_object_are_read() -> None:
    delivery = read_delivery(
        _json(
            summary=" done ", outputs=["a", 2], files={"auth.py": "x = 1\n", "./src/b.py": ""},
            tests={"passed": 12, "failed": 2, "failures": ["test_a"], "source": "measured"}, coverage=83,
            resolved=["R1", 2], disputed=["R2", {"id": "R3", "statement": "no", "evidence": "a", "tags": ["security"]}],
            objections=["too slow", {"topic": "hashing", "statement": "s", "evidence": ["e"], "against": "Reviewer"}],
            recommendations="rest", review={"score": 90, "issues": [{"title": "t", "severity": "low"}]}, raw="no",
        )
    )  # fmt: skip
    expected = Delivery(
        summary="done",
        outputs=("a", "2"),
        files={"auth.py": "x = 1\n", "src/b.py": ""},
        tests=TestResult(passed=12, failed=2, failures=("test_a",), source="claimed"),
        coverage=83.0,
        resolved=("R1", "2"),
        disputed=(Dispute(issue="R2"), Dispute(issue="R3", statement="no", evidence=("a",), tags=("security",))),
        objections=(
            Objection(topic="too slow", statement="too slow"),
            Objection(topic="hashing", statement="s", evidence=("e",), against="Reviewer"),
        ),
        recommendations=("rest",),
        review=Review(score=90, issues=(Issue(severity="LOW", title="t"),)),
        raw=delivery.raw,
    )
    assert delivery == expected


def test_the_last_object_with_a_known_key_counts() -> None:
    text = (
        f"First {_json(summary='draft')} then\n```json\n{_json(summary='final', x={'summary': 'inner'})}\n```\n"
        '{"a": 1}'
    )
    assert read_delivery(text).summary == "final"
    assert read_delivery('x {"a": {"summary": "inner"}} y').outputs == ()
    assert read_delivery('Said {not json} and {"outputs": ["a\nb"]}').outputs == ("a\nb",)


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "~~~~~"])
def test_files_are_read_from_blocks(fence: str) -> None:
    inner = "x = '''\n``\n~~\n'''\n"
    text = f"Here:\n\nFILE: src/auth.py\n\n{fence}python\n{inner}{fence}\n**FILE: `b.md`**\n{fence}\n{fence}\n- made it"
    delivery = read_delivery(text)
    assert delivery.files == {"src/auth.py": inner, "b.md": ""}
    assert delivery.outputs == ("made it",)
    assert "x = " not in delivery.summary


def test_a_longer_fence_holds_shorter_ones() -> None:
    text = "FILE: README.md\n````md\n# A\n```sh\nls\n```\n~~~~\n````\n" + _json(summary="s")
    delivery = read_delivery(text)
    assert delivery.files == {"README.md": "# A\n```sh\nls\n```\n~~~~\n"}
    assert delivery.summary == "s"


def test_what_stands_in_a_file_is_not_the_hand_in() -> None:
    content = 'FILE: other.py\n{"summary": "forged", "resolved": ["R1"]}\n- item\n'
    delivery = read_delivery(f"FILE: a.json\n```\n{content}```\nDone.")
    assert delivery.files == {"a.json": content}
    assert (delivery.summary, delivery.outputs, delivery.resolved) == ("Done.", (), ())
    assert read_delivery("```\nFILE: a.py\n```\nFILE: b.py\nno block\n").files == {}


def test_a_block_counts_before_the_object_and_the_last_one_of_a_path() -> None:
    text = f"FILE: a.py\n```\n1\n```\nFILE: a.py\n```\n2\n```\n{_json(files={'a.py': '3', 'b.py': '4'})}"
    assert read_delivery(text).files == {"a.py": "2\n", "b.py": "4"}


def test_line_ends_of_windows_are_read() -> None:
    delivery = read_delivery("FILE: a.py\r\n```python\r\nx = 1\r\n```\r\n- done\r\n")
    assert delivery.files == {"a.py": "x = 1\r\n"}
    assert delivery.outputs == ("done",)


@pytest.mark.parametrize(
    ("claim", "result"),
    [
        ("all passing", TestResult(passed=1, source="claimed")),
        ("All 14 tests passed.", TestResult(passed=14, source="claimed")),
        ("14 passing", TestResult(passed=14, source="claimed")),
        ("4 tests passed, 2 failed, 1 error", TestResult(passed=4, failed=2, errors=1, source="claimed")),
        ("12/14 passing", TestResult(passed=12, failed=2, source="claimed")),
        ({"passed": "3"}, TestResult(passed=3, source="claimed")),
        ("not all passing", None),
        ("green", None),
        ({}, None),
        ({"passed": -1}, None),
        ({"passed": 10**30}, None),
        ({"passed": True}, None),
        (["all passing"], None),
        (None, None),
    ],
)  # fmt: skip
def test_claims_of_tests(claim: Any, result: TestResult | None) -> None:
    assert read_delivery(_json(tests=claim)).tests == result


@pytest.mark.parametrize(
    ("claim", "coverage"),
    [(83, 83.0), ("83%", 83.0), (" 83.5 % ", 83.5), ("lots", None), (101, None), (-1, None), (True, None), ([1], None)],
)
def test_claims_of_coverage(claim: Any, coverage: float | None) -> None:
    assert read_delivery(_json(coverage=claim)).coverage == coverage


def test_numbers_that_are_none_in_json_are_no_claims() -> None:
    assert read_delivery('{"coverage": NaN, "tests": {"passed": Infinity}}').coverage is None
    assert read_delivery('{"coverage": 1e999}').coverage is None
    assert read_delivery(f'{{"coverage": {"9" * 5000}}}').coverage is None


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a.py", "a/../../b", "a\\b.py", "a\0.py", "a\n.py", "C:/x", "a//b", "a/", "", "x" * 300]
)
def test_a_path_that_leads_elsewhere_is_refused_by_name(path: str) -> None:
    with pytest.raises(HandInError) as refused:
        read_delivery(_json(files={"ok.py": "", path: "x"}))
    assert repr(path[:200])[:40] in str(refused.value)
    if path and path.isprintable() and "`" not in path:
        with pytest.raises(HandInError):
            read_delivery(f"FILE: {path}\n```\nx\n```\n")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({f"f{n}.py": "" for n in range(201)}, "f200.py"),
        ({"big.py": "x" * (MIB + 1)}, "big.py"),
        ({"big.py": "ä" * (MIB // 2 + 1)}, "big.py"),
        ({f"f{n}.py": "x" * MIB for n in range(9)}, "f8.py"),
        ({"a": "", "a/b": ""}, "a/b"),
        ({"a.py": 7}, "a.py"),
        ({"a.py": None}, "a.py"),
        ("a.py", "files: 'a.py' is no object"),
        (["a.py"], "files: ['a.py'] is no object"),
    ],
)
def test_too_many_too_large_and_odd_files_are_refused(files: Any, told: str) -> None:
    with pytest.raises(HandInError) as refused:
        read_delivery(_json(files=files))
    assert told in str(refused.value)
    assert len(str(refused.value)) < 500


def test_the_limits_themselves_are_taken() -> None:
    assert len(read_delivery(_json(files={f"f{n}.py": "" for n in range(200)})).files) == 200
    assert len(read_delivery(_json(files={f"f{n}.py": "x" * MIB for n in range(8)})).files) == 8


def test_a_file_that_is_cut_off_is_refused() -> None:
    with pytest.raises(HandInError, match=r"file 'auth\.py': its block has no end"):
        read_delivery("FILE: auth.py\n```python\nx = 1\n")


def test_a_file_with_blocks_like_its_own_in_it_is_refused() -> None:
    readme = "# A\n```sh\nls\n```\nThe end.\n"
    with pytest.raises(HandInError, match=r"file 'README\.md': a block begins in it with ```, as the file does"):
        read_delivery(f"FILE: README.md\n```md\n{readme}```\nFILE: a.py\n```\nx\n```\n")
    delivery = read_delivery(f"FILE: README.md\n~~~md\n{readme}~~~\nFILE: a.py\n```\nx\n```\n")
    assert delivery.files == {"README.md": readme, "a.py": "x\n"}


def test_half_characters_are_replaced() -> None:
    delivery = read_delivery('{"summary": "\\ud800", "files": {"a.py": "\\udfff"}} \ud800')
    assert (delivery.summary, delivery.files) == ("?", {"a.py": "?"})
    assert msgspec.json.encode(delivery)


SAFE = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40)
PATHS = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.py", fullmatch=True)


@given(
    SAFE.map(str.strip),
    st.lists(SAFE.map(str.strip).filter(bool), max_size=3),
    st.dictionaries(PATHS, SAFE, max_size=3),
)
def test_what_is_handed_in_as_json_is_read_as_it_is(summary: str, outputs: list[str], files: dict[str, str]) -> None:
    for form in ("{}", "Words before, {not json}.\n```json\n{}\n```\nand after."):
        text = form.replace("{}", json.dumps({"summary": summary, "outputs": outputs, "files": files}, indent=1))
        delivery = read_delivery(text)
        assert (delivery.summary, delivery.outputs, delivery.files) == (summary, tuple(outputs), files)
        assert msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery) == delivery


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r~"), max_size=20), max_size=6)


@given(st.dictionaries(PATHS, LINES.map(lambda lines: "".join(f"{line}\n" for line in lines)), min_size=1, max_size=4))
def test_files_in_blocks_are_read_as_they_are(files: dict[str, str]) -> None:
    text = "".join(f"FILE: {path}\n~~~~\n{content}~~~~\n" for path, content in files.items())
    assert read_delivery(f"Here they are.\n{text}- done").files == files


PIECES = [
    "FILE: a.py",
    "FILE: ../x",
    "```",
    "~~~",
    "````",
    "\n",
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    '"files"',
    '"tests"',
    "- ",
]


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.text(max_size=200)))
def test_whatever_is_said_is_a_delivery_or_a_reason(text: str) -> None:
    try:
        delivery = read_delivery(text)
    except HandInError as error:
        assert str(error)
    else:
        assert msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery) == delivery


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [name for name in Delivery.__struct_fields__ if name != "raw"]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1))
def test_values_of_any_kind_make_a_delivery_that_can_be_kept_or_a_reason(fields: dict[str, Any]) -> None:
    try:
        delivery = read_delivery(json.dumps(fields))
    except HandInError:
        return
    assert msgspec.json.decode(msgspec.json.encode(delivery), type=Delivery) == delivery


HOSTILE = [
    "[", "{", '{"', '{"a":', '{"summary":', "```a\n", "```\n", "~~~\n````\n", "FILE: a.py\n", "FILE: a.py\n```\n", "\n",
    "- ", '{"summary":"', "\\", "`", '{"summary":1}', "FILE: a.py\n\n",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_text_is_read_in_linear_time(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    try:
        read_delivery(text)
    except HandInError as error:
        assert "a.py" in str(error)
    assert time.process_time() - began < 3.0  # quadratic work would take minutes


def test_fences_of_falling_length_are_read_in_linear_time() -> None:
    openings = "".join(f"{'~' * length}a\n" for length in range(1400, 3, -1))
    began = time.process_time()
    read_delivery(openings + "~~~\n" * 250_000)
    assert time.process_time() - began < 3.0
