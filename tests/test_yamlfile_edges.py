"""The YAML reader at the edges: tags, bounds to the last byte, places of every key and value, hostile text."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator import yamlfile
from simulator.yamlfile import Document, Location, SpecFileError, dotted, dump_yaml, load, suggest

TAG = "the tag tag:yaml.org,2002:"
OCTAL = "would be octal 8 in YAML 1.1: write"
TRUTH = "would be a truth value in YAML 1.1: write true, false or"
ALIAS = "aliases (*name) are not allowed: write the value out"
RANGE = "f: not YAML: a character code or a version number is out of range"

BROKEN = [
    ("a: 1\nb: 2\n'a': 3\n", ["f:3:1: a: duplicate key, first given in line 1"]),
    ("a: 1\na: 2\na: 3\n", [f"f:{n}:1: a: duplicate key, first given in line 1" for n in (2, 3)]),
    ("x:\n- {b: 1,\n   b: 2}", ["f:3:4: x.0.b: duplicate key, first given in line 2"]),
    ("1: a\n01: b\n1.0: c", [f"f:{n}:1: {key}: duplicate key, first given in line 1" for n, key in ((2, "1"), (3, "1.0"))]),
    ("a: yes", [f"f:1:4: a: 'yes' {TRUTH} 'yes'"]),
    ("a: [on, Off]", [f"f:1:5: a.0: 'on' {TRUTH} 'on'", f"f:1:9: a.1: 'Off' {TRUTH} 'Off'"]),
    ("N", [f"f:1:1: 'N' {TRUTH} 'N'"]),
    ("a: +010", [f"f:1:4: a: '+010' {OCTAL} +10 or '+010'"]),
    ("a: 0_10", [f"f:1:4: a: '0_10' {OCTAL} 10 or '0_10'"]),
    ("a: 0o17", ["f:1:4: a: '0o17' is not a plain number: write it in decimal, or in quotes"]),
    ("a: 0" + "7" * 5000, ["f:1:4: a: the number is too large"]),
    ("a: -" + "9" * 40, ["f:1:4: a: the number is too large"]),
    ("a: -.5e9", ["f:1:4: a: '-.5e9' is text in YAML 1.1: write -.5e+9 or the number in full"]),
    ("a: 12:30", ["f:1:4: a: '12:30' would be a base-60 number in YAML 1.1: write it in quotes"]),
    ("a: 190:20:30.15", ["f:1:4: a: '190:20:30.15' would be a base-60 number in YAML 1.1: write it in quotes"]),
    ("a: 2001-1-2T3:04:05Z", ["f:1:4: a: '2001-1-2T3:04:05Z' would be a date in YAML 1.1: write it in quotes"]),
    ("a: -.INF", ["f:1:4: a: a finite number is needed, got -.INF"]),
    ("x: &a {b: 1}\ny: {<<: *a}", [f"f:2:9: {ALIAS}"]),
    ("&a [*a]", [f"f:1:5: {ALIAS}"]),
    ("*a : 1", [f"f:1:1: {ALIAS}"]),
    ("a: !!str 5", [f"f:1:4: a: {TAG}str is not allowed"]),
    ("a: !!float 5", [f"f:1:4: a: {TAG}float is not allowed"]),
    ("a: !!int '5'", [f"f:1:4: a: {TAG}int is not allowed"]),
    ("a: !!binary aGk", [f"f:1:4: a: {TAG}binary is not allowed"]),
    ("a: !!python/object/apply:os.system [x]", [f"f:1:4: a: {TAG}python/object/apply:os.system is not allowed"]),
    ("a: !!python/object:os.system x", [f"f:1:4: a: {TAG}python/object:os.system is not allowed"]),
    ("x:\n  !!python/name:os.system a: 1", [f"f:2:3: x.a: {TAG}python/name:os.system is not allowed"]),
    ("!!int 'a': 1", [f"f:1:1: a: {TAG}int is not allowed"]),
    ("a: !<tag:example.com,2000:x> v", ["f:1:4: a: the tag tag:example.com,2000:x is not allowed"]),
    ("!!set {a}", [f"f:1:1: {TAG}set is not allowed"]),
    ("a: !x!y z", ["f:1:4: not YAML: found undefined tag handle '!x!'"]),
    ("? {a: 1}\n: b\nc: no", ["f:1:3: a key must be a plain word", f"f:3:4: c: 'no' {TRUTH} 'no'"]),
    ("--- a\n--- b\n--- c", ["f:2:1: not YAML: a file holds one document, here a second one begins"]),
    ("\ta: 1", ["f:1:1: not YAML: indentation must be spaces, not tabs"]),
    ("a: 1\n b: 2", ["f:2:3: not YAML: mapping values are not allowed here"]),
    ("- a\nb: 1", ["f:2:1: not YAML: expected <block end>, but found '?'"]),
    ('a: "x', ["f:1:6: not YAML: found unexpected end of stream"]),
    ("a: @x", ["f:1:4: not YAML: found character '@' that cannot start any token"]),
    ("%YAML 2.0\n---\na: 1", ["f:1:1: not YAML: found incompatible YAML document (version 1.* is required)"]),
    ("%YAML 1." + "1" * 5000 + "\n---\na: 1", [RANGE]),
    ('a: "\\Uffffffff"', [RANGE]),
    ('a: "\\U00110000"', [RANGE]),
    ("a: \0b", ["f: not YAML: unacceptable character #x0000: special characters are not allowed"]),
    ("a: \ud800", ["f: not YAML: unacceptable character #xd800: special characters are not allowed"]),
    (" \n\n", ["f: the file is empty"]),
    ("\ufeff", ["f: the file is empty"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN, ids=[repr(text[:24]) for text, _ in BROKEN])
def test_messages_of_broken_texts(text: str, expected: list[str]) -> None:
    assert str(SpecFileError(load("f", text).faults)).splitlines() == expected


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("[1, two]", [1, "two"]),
        ("5", 5),
        ("--- ", None),
        ("1: a\n2.5: b\n'3': c\n-4: d", {1: "a", 2.5: "b", "3": "c", "-4": "d"}),
        ("on: 1\ntrue: 2\n~: 3\n12:30: 4\n2001-01-01: 5", {"on": 1, "true": 2, "~": 3, "12:30": 4, "2001-01-01": 5}),
        ("? " + "1" * 5000 + "\n: a", {"1" * 5000: "a"}),
        ("<<: {a: 1}\nb: 2", {"<<": {"a": 1}, "b": 2}),
        ("a: &x 1", {"a": 1}),
        ("!!map {a: !!seq [!!str x, !!int 5, !!str 'no']}", {"a": ["x", 5, "no"]}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: |\n  no\n", {"a": "no\n"}),
        ("a: >-\n  010\n", {"a": "010"}),
        ("a: 08\nb: none\nc: 1.2.3", {"a": "08", "b": "none", "c": "1.2.3"}),
        ("a: " + "9" * 40, {"a": 10**40 - 1}),
        ("a: 1\n...\n", {"a": 1}),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_odd_texts_that_are_read(text: str, data: Any) -> None:
    document = load("f", text)
    assert (repr(document.data), document.faults) == (repr(data), [])


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"\xff", "1:1"),
        (b"a: 1\nb: \xe9\n", "2:4"),
        (b"\xef\xbb\xbfa: \xff", "1:4"),
        (b"\xef\xbb\xbfa: 1\n\xff", "2:1"),
        ("é€: ".encode() + b"\x80", "1:5"),
        ("a: 1\n".encode("utf-16"), "1:1"),
    ],
)
def test_bytes_that_are_not_utf8_are_placed_in_characters(raw: bytes, place: str, tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(raw)
    document = load(path)
    assert document.data is None
    assert str(SpecFileError(document.faults)) == f"{path}:{place}: not UTF-8 text"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")])
def test_depth_is_bounded_at_the_opening_that_is_too_deep(opening: str, closing: str) -> None:
    def nested(depth: int) -> list[str]:
        return [str(fault) for fault in load("f", opening * depth + "1" + closing * depth).faults]

    too_deep = f"f:1:{len(opening) * 32 + 1}: nesting may be at most 32 deep"
    assert too_deep not in nested(32)
    assert nested(33) == [too_deep]
    assert nested(20_000) == [too_deep]


def test_nodes_are_counted_with_keys_and_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_NODES", 6)
    assert load("f", "a: [1, 2, 3]").faults == []
    assert [str(fault) for fault in load("f", "a: [1, 2, 3, 4]").faults] == ["f:1:14: a file may have at most 6 values"]


def test_the_last_byte_counts_and_not_the_last_character(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yamlfile, "MAX_BYTES", 8)
    path = tmp_path / "f.yaml"
    for text, refused in (("a: 12345", False), ("a: 123456", True), ("a: éé1", False), ("a: ééé", True)):
        path.write_text(text, encoding="utf-8")
        for document in (load("f", text), load(path)):
            assert [fault.rule for fault in document.faults] == ["a file may have at most 8 bytes"] * refused
            assert (document.data is None) is refused


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["a: &a [x]", *(f"b{n}: &b{n} [{'*a, ' * 9}]" for n in range(9))]),
        "a: &a {k: v}\n" + "\n".join(f"b{n}: {{<<: [*a, *a]}}" for n in range(9)),
        "&a {b: *a}",
    ],
    ids=["laughs", "merges", "itself"],
)
def test_bombs_stop_at_the_first_alias(text: str) -> None:
    document = load("f", text)
    line, column = next((n, row.index("*") + 1) for n, row in enumerate(text.splitlines(), 1) if "*" in row)
    assert document.data is None
    assert [str(fault) for fault in document.faults] == [f"f:{line}:{column}: {ALIAS}"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("a: " + "1" * 100_000, 1),
        ("a: " + "1" * 100_000 + "x", 0),
        ("a: 0." + "1" * 100_000, 0),
        ("a: 1" + "_1" * 50_000, 1),
        ("a: 1" + ":1" * 50_000 + "x", 0),
    ],
    ids=["digits", "digits and a letter", "fraction", "underscores", "colons"],
)
def test_long_scalars_are_judged_in_linear_time(text: str, faults: int) -> None:
    value = yaml.ScalarNode(*_plain(text.removeprefix("a: ")))
    document = Document("f", None)
    start = time.perf_counter()
    yamlfile._scalar(value, (), document)
    assert time.perf_counter() - start < 1.0
    assert len(document.faults) == faults


def _plain(text: str) -> tuple[str, str, Any, Any]:
    mark = yaml.Mark("f", 0, 0, 0, "", 0)
    return yaml.resolver.Resolver().resolve(yaml.ScalarNode, text, (True, False)), text, mark, mark  # type: ignore[no-untyped-call]


shapes = st.recursive(
    st.just(0),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple),
    max_leaves=15,
)
"""A tuple stands for a mapping, a list for a list, 0 for a scalar."""


def _unique(shape: Any, names: Any) -> Any:
    if isinstance(shape, tuple):
        return {f"k{next(names)}k": _unique(inner, names) for inner in shape}
    return [_unique(inner, names) for inner in shape] if isinstance(shape, list) else f"v{next(names)}v"


def _places(data: Any, text: str, location: Location, keys: dict[Location, Any], marks: dict[Location, Any]) -> None:
    """Where every key and scalar stands, found by its unique name in the text."""
    if isinstance(data, str):
        marks[location] = _place(text, data)
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        if isinstance(data, dict):
            keys[(*location, key)] = _place(text, str(key))
        _places(value, text, (*location, key), keys, marks)


def _place(text: str, name: str) -> tuple[int, int]:
    before = text[: text.index(name)]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _containers(data: Any, location: Location) -> dict[Location, Any]:
    found = {} if isinstance(data, str) else {location: data}
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        found |= _containers(value, (*location, key))
    return found


@settings(max_examples=120, deadline=None)
@given(st.lists(shapes, min_size=1, max_size=4).map(tuple), st.sampled_from([None, False, True]), st.integers(2, 6))
def test_every_key_and_value_is_where_its_mark_says(shape: Any, flow: bool | None, indent: int) -> None:
    data = _unique(shape, count())
    text = yaml.safe_dump(data, default_flow_style=flow, indent=indent, width=30, sort_keys=False)
    document = load("f", text)
    assert (document.data, document.faults) == (data, [])
    keys: dict[Location, Any] = {}
    scalars: dict[Location, Any] = {}
    _places(data, text, (), keys, scalars)
    assert document.key_marks == keys
    containers = _containers(data, ())
    assert {where: mark for where, mark in document.marks.items() if where not in containers} == scalars
    assert set(document.marks) == set(scalars) | set(containers)
    lines = text.splitlines()
    for where, value in containers.items():
        line, column = document.mark(where)
        begins = lines[line - 1][column - 1 :]
        first = f"k{next(iter(value))[1:]}" if isinstance(value, dict) and value else "-"
        assert begins.startswith(("{" if isinstance(value, dict) else "[", first))
        if begins.startswith(first) and isinstance(value, dict):
            assert (line, column) == keys[(*where, first)]


def test_a_place_that_does_not_exist_is_that_of_its_parent() -> None:
    document = load("f", "a:\n  b: {c: 1}\n")
    assert document.mark(("a", "b", "missing", 3)) == (2, 6)
    assert document.key_mark(("a", "b")) == (2, 3)
    assert document.key_mark(("a", "missing")) == document.mark(("a",)) == (2, 3)
    document.fault(("a", "b", "x"), "missing")
    document.fault(("a", "b"), "odd", "1", "bb", at_key=True)
    expected = "f:2:3: a.b: odd, got 1 (did you mean 'bb'?)\nf:2:6: a.b.x: missing"
    assert str(SpecFileError(document.faults)) == expected
    assert Document("f", None).mark(("a",)) == (0, 0)
    assert dotted(("a", 0, 2.5)) == "a.0.2.5"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("SIZE", "size"),
        ("sise", "size"),
        ("way", "ways"),
        ("latencies", "latency"),
        ("", ""),
        ("zzz", ""),
        ("wa", "ways"),
    ],
)
def test_the_nearest_choice_is_suggested(word: str, meant: str) -> None:
    assert suggest(word, ["size", "ways", "latency"]) == meant
    assert suggest(word, []) == ""


pieces = st.sampled_from(
    [*"ab01.:-+_ \n\t#,[]{}?!&*|>'\"%@`~<=\\/e\ufeff\x85\u2028\0", "\\U", "---", "\n...\n", "!!", "%YAML "]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=25).map("".join))
@example('"\\U00110000"')
def test_any_text_gives_data_or_faults_inside_it(text: str) -> None:
    document = load("f", text)
    lines = text.count("\n") + text.count("\x85") + text.count("\u2028") + 1
    assert all(0 <= fault.line <= lines and fault.rule for fault in document.faults)
    assert document.data is not None or document.faults or document.marks


scalars = (
    st.text(max_size=12) | st.lists(pieces, max_size=8).map("".join) | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(scalars.map(str), scalars | st.lists(scalars, max_size=3), max_size=4))
@example({"a": "b\x85c", "\x85": "\u2028", "<<": "=", "08": "1e9"})
def test_any_text_and_number_is_written_so_that_it_is_read_back(data: dict[str, Any]) -> None:
    document = load("f", dump_yaml(data))
    assert (document.data, document.faults) == (data, [])
