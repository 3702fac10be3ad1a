"""
YAML read with its line numbers, and every key that is there twice.

Only plain data comes out: mappings with text keys, lists, text, numbers, booleans, None. What YAML 1.1 and 1.2 read
differently (`yes`, `010`, `1:30`) comes out as `Unclear` text, for whoever wants a number or a text to refuse it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from parigot_oci.errors import ManifestError, Problem

Step = str | int
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where there is one: ten times faster."""

_INT = re.compile(r"-?(0|[1-9][0-9]{0,99})")  # of longer ones Python makes no number
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")


class Unclear(str):
    """A plain scalar that readers of YAML do not agree on, as it is written."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Document:
    """`value` is the plain data; the methods say where in the file a part of it is, by its path of keys and indices."""

    file: Path
    value: object
    problems: tuple[Problem, ...]
    root: yaml.Node
    parts: dict[tuple[int, Step], tuple[yaml.Node, yaml.Node]] = field(repr=False)

    def line(self, path: Sequence[Step]) -> int:
        """The line of a key or of a list's item, counted from 1; where it is absent, of what should hold it."""
        node = place = self.root
        for step in path:
            if (id(node), step) not in self.parts:
                break
            place, node = self.parts[id(node), step]
        return int(place.start_mark.line) + 1

    def source(self, path: Sequence[Step]) -> str:
        """A scalar as it is written, without its quotes."""
        node = self.root
        for step in path:
            _, node = self.parts[id(node), step]
        return str(node.value)


def read(file: Path) -> Document:
    """Raises ManifestError where the file is not YAML, with the line; OSError where it cannot be read."""
    try:
        loader = LOADER(file.read_bytes())
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ManifestError(
            Problem(
                what=f"not YAML: {what}",
                file=str(file),
                line=mark.line + 1 if mark else 0,
                hint="Look at this line and the one above it: an indent, a colon, a quote or a bracket is amiss.",
            )
        ) from error
    except yaml.YAMLError as error:
        raise ManifestError(
            Problem(what=f"not YAML: {error}", file=str(file), hint="Save it as text in UTF-8.")
        ) from error
    if root is None:
        raise ManifestError(
            Problem(what="the file is empty", file=str(file), hint="It begins with `parigot: 1` and `name: ...`.")
        )
    reader = _Reader(str(file))
    value = reader.plain(root)
    return Document(file=file, value=value, problems=tuple(reader.problems), root=root, parts=reader.parts)


class _Reader:
    """One walk over the nodes. An aliased node is converted once, so that a file cannot grow by aliases of aliases."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.parts: dict[tuple[int, Step], tuple[yaml.Node, yaml.Node]] = {}
        self.done: dict[int, object] = {}

    def plain(self, node: yaml.Node) -> object:
        if id(node) not in self.done:
            self.done[id(node)] = None  # what an alias to itself finds
            if isinstance(node, yaml.MappingNode):
                self.done[id(node)] = self.mapping(node)
            elif isinstance(node, yaml.SequenceNode):
                for index, item in enumerate(node.value):
                    self.parts[id(node), index] = (item, item)
                self.done[id(node)] = [self.plain(item) for item in node.value]
            else:
                self.done[id(node)] = _scalar(node)
        return self.done[id(node)]

    def mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                what = "a key must be a word"
                self.problems.append(Problem(what=what, file=self.file, line=line, hint="Put { } and [ ] in quotes."))
            elif key.value in result:
                first = self.parts[id(node), key.value][0].start_mark.line + 1
                what = f"{key.value!r} is there twice, first in line {first}"
                self.problems.append(Problem(what=what, file=self.file, line=line, hint="Take one of them out."))
            else:
                self.parts[id(node), key.value] = (key, value)
                result[key.value] = self.plain(value)
        return result


def _scalar(node: yaml.Node) -> object:
    kind, text = str(node.tag).rpartition(":")[2], str(node.value)
    match kind:
        case "null":
            return None
        case "bool" if text in ("true", "false"):
            return text == "true"
        case "int" if _INT.fullmatch(text):
            return int(text)
        case "float" if _FLOAT.fullmatch(text):
            return float(text)
        case "bool" | "int" | "float":
            return Unclear(text)
    return text
