"""The held-out prompt pack: questions that no grammar made, from the fish's own world to far outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guppy.yaml_lines import YamlFile

PACK_FILE = Path(__file__).resolve().parent.parent / "data" / "prompt-pack.yaml"


@dataclass(frozen=True)
class Group:
    """Prompts about one thing. `inside`: of the world that the persona talks about."""

    name: str
    inside: bool
    prompts: tuple[str, ...]


def load_pack(path: Path = PACK_FILE) -> list[Group]:
    """The groups in the order of the file.

    Raises:
        GuppyError: the file is missing or has a mistake, with its line.
    """
    file = YamlFile(path)
    top = file.mapping(file.root, "a prompt pack", ("inside", "outside"))
    return [
        Group(name, side == "inside", tuple(file.text(item, "a prompt") for item in file.items(node, name)))
        for side, groups in top.items()
        for name, node in file.mapping(groups, side).items()
    ]
