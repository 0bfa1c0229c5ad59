"""The strict YAML reader: every fault with file, line and column, all of them together.

PyYAML alone accepts duplicate keys, reads `1e9` as text, `010` as 8, `no` as False and `12:30:45` as 45045, and expands
aliases without bound. Here each of those is a fault, and size, depth and node count are bounded, so that an upload cannot
exhaust the reader.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000

Location = tuple[Any, ...]


@dataclass(frozen=True)
class Fault:
    """One broken rule of one file. Lines and columns count from 1; 0 means 'the file as a whole'."""

    file: str
    line: int
    column: int
    field: str
    rule: str
    got: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.field}: {self.rule}" if self.field else f"{place}: {self.rule}"
        if self.got:
            text += f", got {self.got}"
        return text + (f" (did you mean '{self.suggestion}'?)" if self.suggestion else "")


class SpecFileError(Exception):
    """All faults of one reading; its text is one fault per line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults), key=lambda f: (f.file, f.line, f.column, f.field, f.rule)))
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.faults,))


@dataclass
class Document:
    """A parsed file: plain data, the mark of every value and key, and the faults found so far."""

    file: str
    data: Any
    marks: dict[Location, tuple[int, int]] = field(default_factory=dict)
    key_marks: dict[Location, tuple[int, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def mark(self, location: Location) -> tuple[int, int]:
        """(line, column) of a value, or of the nearest enclosing one that exists."""
        while location not in self.marks and location:
            location = location[:-1]
        return self.marks.get(location, (0, 0))

    def key_mark(self, location: Location) -> tuple[int, int]:
        """(line, column) of the key that leads to a value."""
        return self.key_marks.get(location, self.mark(location))

    def fault(
        self, location: Location, rule: str, got: str = "", suggestion: str = "", *, at_key: bool = False
    ) -> None:
        """Adds a fault at a value (or at its key)."""
        line, column = self.key_mark(location) if at_key else self.mark(location)
        self.faults.append(Fault(self.file, line, column, dotted(location), rule, got, suggestion))


def dotted(location: Location) -> str:
    """('caches', 'L2', 'size') -> 'caches.L2.size'."""
    return ".".join(str(part) for part in location)


def suggest(word: str, choices: Iterable[str]) -> str:
    """The choice that `word` probably meant, or ''."""
    options = list(choices)
    lowered = {option.lower(): option for option in options}
    if word.lower() in lowered:
        return lowered[word.lower()]
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return close[0] if close else ""


def shown(value: Any) -> str:
    """A value as a message quotes it: short, one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


class _Loader(yaml.SafeLoader):
    """Composes only; construction is ours."""


def load(path: str | Path, text: str | None = None) -> Document:
    """Reads `path` (or `text`, with `path` as its name). Faults are in the result; `data` is None if nothing could be read."""
    name = str(path)
    document = Document(name, None)
    if text is None:
        content = _read(Path(path), document)
        if content is None:
            return document
        text = content
    elif len(text.encode("utf-8", "replace")) > MAX_BYTES:
        document.faults.append(Fault(name, 0, 0, "", f"a file may have at most {MAX_BYTES} bytes"))
        return document
    try:
        root = _compose(text)
    except _Bounds as bounds:
        document.faults.append(Fault(name, bounds.line, bounds.column, "", bounds.rule))
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        document.faults.append(Fault(name, line, column, "", f"not YAML: {_problem(error)}"))
        return document
    except (yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        document.faults.append(Fault(name, 0, 0, "", f"not YAML: {first}"))
        return document
    except (ValueError, OverflowError):  # PyYAML, on "\UFFFFFFFF" and on a %YAML version of thousands of digits
        document.faults.append(Fault(name, 0, 0, "", "not YAML: a character code or a version number is out of range"))
        return document
    if root is None:
        document.faults.append(Fault(name, 0, 0, "", "the file is empty"))
        return document
    document.data = _construct(root, (), document)
    return document


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = (error.problem or "unreadable").replace("\n", " ")
    if "\\t" in problem:
        return "indentation must be spaces, not tabs"
    if "another document" in problem:
        return "a file holds one document, here a second one begins"
    return problem if "found" in problem or not error.context else f"{problem} {error.context}"


def _read(path: Path, document: Document) -> str | None:
    def refuse(rule: str, got: str = "") -> None:
        document.faults.append(Fault(document.file, 0, 0, "", rule, got))

    try:
        if path.is_dir():
            refuse("this is a directory, a file is needed")
            return None
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        refuse("no such file")
        return None
    except OSError as error:
        refuse(f"cannot be read: {error.strerror}")
        return None
    except ValueError:
        refuse("no such file")
        return None
    if len(raw) > MAX_BYTES:
        refuse(f"a file may have at most {MAX_BYTES} bytes")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]  # without the byte order mark, unlike `raw`
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode()) + 1
        document.faults.append(Fault(document.file, line, column, "", "not UTF-8 text"))
        return None


class _Bounds(Exception):
    def __init__(self, rule: str, mark: Any) -> None:
        super().__init__(rule)
        self.rule, self.line, self.column = rule, mark.line + 1, mark.column + 1


def _compose(text: str) -> Any:
    """The node tree, with depth, node count and aliases bounded while events are read (a bomb never unfolds)."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _Bounds("aliases (*name) are not allowed: write the value out", event.start_mark)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise _Bounds(f"nesting may be at most {MAX_DEPTH} deep", event.start_mark)
        if nodes > MAX_NODES:
            raise _Bounds(f"a file may have at most {MAX_NODES} values", event.start_mark)
    return yaml.compose(text, Loader=_Loader)


def _construct(node: Any, location: Location, document: Document) -> Any:
    mark = (node.start_mark.line + 1, node.start_mark.column + 1)
    document.marks[location] = mark
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, location, document)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != "tag:yaml.org,2002:seq":
            document.fault(location, f"the tag {node.tag} is not allowed")
        return [_construct(child, (*location, index), document) for index, child in enumerate(node.value)]
    return _scalar(node, location, document)


def _mapping(node: Any, location: Location, document: Document) -> dict[Any, Any]:
    if node.tag != "tag:yaml.org,2002:map":
        document.fault(location, f"the tag {node.tag} is not allowed")
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        mark = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            document.faults.append(Fault(document.file, *mark, dotted(location), "a key must be a plain word"))
            continue
        key: Any = _key(key_node)
        where = (*location, key)
        if key in result:
            first = document.key_marks[where]
            document.faults.append(
                Fault(document.file, *mark, dotted(where), f"duplicate key, first given in line {first[0]}")
            )
            continue
        document.key_marks[where] = mark
        if _foreign_tag(key_node):
            document.fault(where, f"the tag {key_node.tag} is not allowed", at_key=True)
        result[key] = _construct(value_node, where, document)
    return result


_RESOLVER: Any = yaml.resolver.Resolver()


def _foreign_tag(node: Any) -> bool:
    """Whether a scalar carries a tag that its text alone would not have."""
    if node.style is not None:
        return node.tag not in ("tag:yaml.org,2002:str", "!")
    return bool(node.tag != _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False)))


def _key(node: Any) -> Any:
    if node.style is None and re.fullmatch(r"[0-9]{1,40}", node.value):
        return int(node.value)
    if node.style is None and re.fullmatch(r"[0-9]+\.[0-9]*|\.[0-9]+", node.value):
        return float(node.value)
    return node.value


_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?\Z|[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+][0-9]+\Z")
_EXPONENT = re.compile(r"([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))[eE]([0-9]+)\Z")
_TRAPS = (
    (r"[-+]?0[0-7_]+", "'{0}' would be octal {octal} in YAML 1.1: write {decimal} or '{0}'"),
    (r"[-+]?0[xXbBoO][0-9a-fA-F_]+", "'{0}' is not a plain number: write it in decimal, or in quotes"),
    (
        r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?",
        "'{0}' would be a base-60 number in YAML 1.1: write it in quotes",
    ),
    (r"[-+]?[0-9][0-9]*_[0-9_]*(?:\.[0-9_]*)?", "'{0}': write numbers without underscores"),
    (
        r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|y|Y|n|N",
        "'{0}' would be a truth value in YAML 1.1: write true, false or '{0}'",
    ),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", "'{0}' would be a date in YAML 1.1: write it in quotes"),
    (r"[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)", "a finite number is needed, got {0}"),
)
"""Plain scalars that YAML 1.1 reads as something else than they look like, with the rule to print."""


def _trap(value: str) -> str | None:
    for pattern, rule in _TRAPS:
        if re.fullmatch(pattern, value):
            digits = value.replace("_", "")
            octal = int(digits, 8) if re.fullmatch(r"[-+]?[0-7]+", digits) else ""
            decimal = digits[:1].strip("0123456789") + (digits.lstrip("+-").lstrip("0") or "0")
            return rule.format(value, octal=octal, decimal=decimal)
    return None


def _scalar(node: Any, location: Location, document: Document) -> Any:
    value = node.value
    if _foreign_tag(node):
        document.fault(location, f"the tag {node.tag} is not allowed")
        return value
    if node.style is not None:
        return value
    if value in ("", "~", "null", "Null", "NULL"):
        return None
    if value in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return value.lower() == "true"
    exponent = _EXPONENT.match(value)
    if exponent:
        mantissa = exponent[1] if "." in exponent[1] else exponent[1] + ".0"
        document.fault(
            location, f"'{value}' is text in YAML 1.1: write {mantissa}e+{exponent[2]} or the number in full"
        )
        return value
    if len(value) > 40 and re.fullmatch(r"[-+]?[0-9][0-9_]*", value):
        document.fault(location, "the number is too large")
        return 0
    trap = _trap(value)
    if trap:
        document.fault(location, trap)
        return value
    if _INTEGER.match(value):
        return int(value)
    if _FLOAT.match(value):
        number = float(value)
        if number in (float("inf"), float("-inf")):
            document.fault(location, "the number is too large")
            return 0.0
        return number
    return value


class _Dumper(yaml.SafeDumper):
    """Keys in the order given, no aliases, floats that this reader accepts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _float(dumper: yaml.SafeDumper, value: float) -> Any:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    if "e" in text and "e-" not in text and "e+" not in text:
        text = text.replace("e", "e+")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _text(dumper: yaml.SafeDumper, value: str) -> Any:
    probe = Document("", None)
    mark = yaml.Mark("", 0, 0, 0, "", 0)
    node = yaml.ScalarNode("tag:yaml.org,2002:str", value, mark, mark)
    plain = bool(value) and "\x85" not in value and _construct(node, (), probe) == value == _key(node)
    plain = plain and not probe.faults
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(float, _float)
_Dumper.add_representer(str, _text)


def dump_yaml(data: Any) -> str:
    """YAML text of plain data that `load` reads back identically."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)
