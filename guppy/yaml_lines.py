"""YAML read as nodes that remember their lines, so that a mistake is reported where it stands.

Nothing is constructed: every scalar stays the text that was written ("no" is "no", not False).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import yaml

from guppy.errors import GuppyError

DEEPEST = 50


class YamlFile:
    """One YAML file: `root` is its top node, the methods read nodes or raise GuppyError with file and line."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            GuppyError: it is missing, unreadable, empty, no UTF-8 or no YAML.
        """
        self.path = path
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise GuppyError(f"{path} cannot be read ({error.strerror}); give the path of a .yaml file") from None
        self.root = self._compose(raw)

    def error(self, place: yaml.Node | int, what: str, mend: str) -> GuppyError:
        """An error to raise about `place`, a node or a line number."""
        line = place if isinstance(place, int) else place.start_mark.line + 1
        return GuppyError(f"{self.path}, line {line}: {what}; {mend}")

    def mapping(self, node: yaml.Node, what: str, allowed: Iterable[str] | None = None) -> dict[str, yaml.Node]:
        """The entries of a mapping by key; a key outside `allowed` or written twice is an error."""
        if not isinstance(node, yaml.MappingNode) or not node.value:
            raise self.error(node, f"{what} should hold 'key: value' lines", "write at least one")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key, "a key")
            if allowed is not None and name not in allowed:
                raise self.error(key, f"unknown key '{name}' in {what}", did_you_mean(name, allowed, "'{}'"))
            if name in found:
                raise self.error(key, f"'{name}' stands twice in {what}", "keep one of them")
            found[name] = value
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The items of a list; a single text counts as a list of one."""
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not items or (node.tag == "tag:yaml.org,2002:null" and not node.value):
            raise self.error(node, f"'{what}' is empty", "give it at least one text")
        return items

    def text(self, node: yaml.Node, what: str) -> str:
        """The text of a scalar, exactly as written."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(
                node, f"{what} should be a text", 'put it in quotes if it has : { } [ ] in it, as in "{food}"'
            )
        return node.value

    def number(self, node: yaml.Node, what: str) -> float:
        """A finite number of at least 0."""
        try:
            number = float(self.text(node, what))
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise self.error(node, f"'{what}' is no number of at least 0", "write one, as in 0.5")
        return number

    def _compose(self, raw: bytes) -> yaml.Node:
        try:
            text = raw.decode("utf-8-sig")
            root = _compose_quickly(text) or yaml.compose(text, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise self.error(line, "this is not UTF-8", "save the file as UTF-8") from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            mend = "check the indentation, and put texts with : { } [ ] in quotes"
            raise self.error(mark.line + 1 if mark else 1, f"this is not YAML ({error.problem})", mend) from None
        except yaml.reader.ReaderError as error:
            line = raw.decode("utf-8-sig")[: error.position].count("\n") + 1
            raise self.error(line, "there is a character that YAML forbids", "delete it") from None
        except RecursionError:
            raise self.error(1, "its lists and brackets are nested too deeply", "make the file flatter") from None
        if root is None:
            raise self.error(1, "the file is empty", "write something into it")
        return root


def _compose_quickly(text: str) -> yaml.Node | None:
    """The top node by libyaml, in a tenth of the time; None where it is missing, or finds a mistake that PyYAML itself
    tells better. It composes deep nests on the C stack, so how deep they go is looked at first."""
    loader = getattr(yaml, "CSafeLoader", None)
    if loader is None:
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return None
        return yaml.compose(text, Loader=loader)
    except yaml.YAMLError:
        return None


def did_you_mean(name: str, known: Iterable[str], wrap: str = "{}") -> str:
    """How to mend a misspelt name: the nearest one that exists, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {wrap.format(near[0])}?"
    return "there is " + ", ".join(known) if known else "none is defined here"
