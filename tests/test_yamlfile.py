"""The strict YAML reader: marks, traps, bounds, and text that it writes and reads back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import yamlfile
from simulator.yamlfile import Fault, SpecFileError, dump_yaml, load, shown, suggest

BAD = {
    "duplicate key": ("a: 1\nb:\n  c: 2\n  c: 3\n", ["f:4:3: b.c: duplicate key, first given in line 3"]),
    "duplicate of a number": ("{1: a, 1: b}", ["f:1:8: 1: duplicate key, first given in line 1"]),
    "truth value": ("a: no", ["f:1:4: a: 'no' would be a truth value in YAML 1.1: write true, false or 'no'"]),
    "octal": ("a: 010", ["f:1:4: a: '010' would be octal 8 in YAML 1.1: write 10 or '010'"]),
    "signed octal": ("a: -010", ["f:1:4: a: '-010' would be octal -8 in YAML 1.1: write -10 or '-010'"]),
    "hexadecimal": ("a: 0x10", ["f:1:4: a: '0x10' is not a plain number: write it in decimal, or in quotes"]),
    "exponent": ("a: 1e9", ["f:1:4: a: '1e9' is text in YAML 1.1: write 1.0e+9 or the number in full"]),
    "base 60": ("a: 12:30:45", ["f:1:4: a: '12:30:45' would be a base-60 number in YAML 1.1: write it in quotes"]),
    "underscores": ("a: 1_000", ["f:1:4: a: '1_000': write numbers without underscores"]),
    "date": ("a: 2026-11-23", ["f:1:4: a: '2026-11-23' would be a date in YAML 1.1: write it in quotes"]),
    "infinity": ("a: .inf", ["f:1:4: a: a finite number is needed, got .inf"]),
    "not a number": ("a: .nan", ["f:1:4: a: a finite number is needed, got .nan"]),
    "too large": ("a: 1.0e+999", ["f:1:4: a: the number is too large"]),
    "too many digits": (f"a: {'9' * 5000}", ["f:1:4: a: the number is too large"]),
    "alias": ("a: &x 1\nb: *x\n", ["f:2:4: aliases (*name) are not allowed: write the value out"]),
    "python object": ("a: !!python/name:os {}", ["f:1:4: a: the tag tag:yaml.org,2002:python/name:os is not allowed"]),
    "own tag": ("a: !size 3", ["f:1:4: a: the tag !size is not allowed"]),
    "a sequence with a tag": ("a: !!set [1]", ["f:1:4: a: the tag tag:yaml.org,2002:set is not allowed"]),
    "list as key": ("? [1, 2]\n: 3\n", ["f:1:3: a key must be a plain word"]),
    "tab": ("a:\n\tb: 1\n", ["f:2:1: not YAML: indentation must be spaces, not tabs"]),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        ["f:2:1: not YAML: a file holds one document, here a second one begins"],
    ),
    "unclosed": ("a: [1, 2", ["f:1:9: not YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"]),
    "empty": ("", ["f: the file is empty"]),
    "comments only": ("# nothing\n", ["f: the file is empty"]),
    "several at once": ("a: no\nb: 010\na: 2\n", [
        "f:1:4: a: 'no' would be a truth value in YAML 1.1: write true, false or 'no'",
        "f:2:4: b: '010' would be octal 8 in YAML 1.1: write 10 or '010'",
        "f:3:1: a: duplicate key, first given in line 1",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_broken_texts(name: str) -> None:
    text, expected = BAD[name]
    assert str(SpecFileError(load("f", text).faults)).splitlines() == expected


def test_nul_bytes_are_refused() -> None:
    (fault,) = load("f", "a: \0").faults
    assert fault.rule.startswith("not YAML: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'010'", "010"), ("'no'", "no"), ('"1e9"', "1e9"), ("true", True), ("False", False), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("0", 0), ("2.5", 2.5), (".5", 0.5), ("1.0e+3", 1000.0), ("1e+3", 1000.0),
        ("33 ns", "33 ns"), ("[1, b]", [1, "b"]), ("{1: x, 0.5: z}", {1: "x", 0.5: "z"}),
    ],
)  # fmt: skip
def test_what_scalars_mean(text: str, value: Any) -> None:
    document = load("f", f"a: {text}\n")
    assert (document.data, document.faults) == ({"a": value}, [])
    assert type(document.data["a"]) is type(value)


def test_a_bomb_never_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    start = time.perf_counter()
    document = load("f", "\n".join(lines))
    assert time.perf_counter() - start < 2.0
    assert document.data is None
    assert "aliases" in document.faults[0].rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[" * 33 + "]" * 33, "nesting may be at most 32 deep"),
        ("[" + "1," * 100_001 + "]", "a file may have at most 100000 values"),
        ("a: " + "x" * (1 << 20), "a file may have at most 1048576 bytes"),
    ],
)
def test_bounds(text: str, rule: str, tmp_path: Path) -> None:
    assert [fault.rule for fault in load("f", text).faults] == [rule]
    path = tmp_path / "f.yaml"
    path.write_text(text)
    assert [fault.rule for fault in load(path).faults] == [rule]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert str(load(tmp_path / "none.yaml").faults[0]) == f"{tmp_path / 'none.yaml'}: no such file"
    assert load(tmp_path).faults[0].rule == "this is a directory, a file is needed"
    assert load("a\0b").faults[0].rule == "no such file"
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    assert str(load(tmp_path / "latin.yaml").faults[0]) == f"{tmp_path / 'latin.yaml'}:2:4: not UTF-8 text"


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load(tmp_path / "f.yaml").data == {"a": 1}


words = st.text("abcdefgh", min_size=1, max_size=6).filter(lambda word: word not in ("a", "e"))
trees = st.recursive(
    st.integers(-1000, 1000) | words,
    lambda inner: st.dictionaries(words, inner, min_size=1, max_size=4) | st.lists(inner, min_size=1, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(words, trees, min_size=1, max_size=4), st.booleans())
def test_marks_point_at_keys_and_values(data: dict[str, Any], flow: bool) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, width=10_000)
    document = load("f", text)
    assert (document.data, document.faults) == (data, [])
    lines = text.splitlines()
    for location, (line, column) in document.key_marks.items():
        assert lines[line - 1][column - 1 :].startswith(f"{location[-1]}:")
    for location, (line, column) in document.marks.items():
        value: Any = data
        for part in location:
            value = value[part]
        if not isinstance(value, (dict, list)):
            assert lines[line - 1][column - 1 :].startswith(str(value))


plain = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs", "Co", "Cn"]), max_size=20) | st.sampled_from(
    [
        "no",
        "010",
        "1e9",
        "12:30",
        "2026-11-23",
        "0x1",
        "1_0",
        "~",
        "null",
        "true",
        ".inf",
        "- a",
        "a: b",
        "#",
        "!x",
        "*a",
        "&a",
        "%",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(words, plain | texts | st.lists(plain | texts, max_size=3), min_size=1, max_size=5))
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    document = load("f", dump_yaml(data))
    assert document.faults == []
    assert document.data == data


def test_faults_sort_by_place_and_say_it_once() -> None:
    faults = [Fault("f", 2, 1, "b", "bad"), Fault("f", 1, 9, "a", "bad"), Fault("f", 2, 1, "b", "bad")]
    assert str(SpecFileError(faults)) == "f:1:9: a: bad\nf:2:1: b: bad"


def test_suggestions() -> None:
    assert suggest("Latency", ["latency", "ways"]) == "latency"
    assert suggest("latncy", ["latency", "ways"]) == "latency"
    assert suggest("colour", ["latency", "ways"]) == ""


def test_values_are_quoted_short() -> None:
    assert [shown(v) for v in ({}, [], None, True, "a", 3)] == ["a mapping", "a list", "nothing", "true", "'a'", "3"]
    assert len(shown("x" * 100)) == 60


def test_the_bounds_are_those_of_the_reader() -> None:
    assert (yamlfile.MAX_BYTES, yamlfile.MAX_DEPTH, yamlfile.MAX_NODES) == (1 << 20, 32, 100_000)
