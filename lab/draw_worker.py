"""A process of its own that reads personas and draws conversations from them.

What a visitor writes may ask for more time or memory than there is; then this process ends, and the lab does not. It
reads requests from stdin and answers on stdout, one JSON object a line:

    {"persona": name or path, or "text": what was written, "seed", "count", "topic" and "split" (optional)}
    {"about": {name, description, voice, obsession, turns, topics, …}, "samples": [{category, turns}, …]}
    {"error": sentence, "line": where in the text, or null}
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from guppy.draws import draw_split
from guppy.errors import GuppyError
from guppy.grammar import Conversation, Persona
from guppy.personas import load_persona
from lab.confine import limit_memory

MEMORY = 2**30
# A topic of one row in a hundred needs 1,200 draws for a dozen; more are for topics that are rarer still.
DRAWS = (300, 3_000, 30_000)
# Of a visitor's persona. The fish has some 5,000 pairs of a scene and what may follow it.
MOST_PAIRS = 200_000
# Characters of a text with all that YAML repeats in it, and how many an entry counts beside its own.
MOST_REPEATED, NODE = 4_000_000, 10
LONGEST_NAME = 60
# As many as tell whether anything can be held out.
SPLIT_ROWS = 3_000


def main() -> None:
    """Answer until stdin ends."""
    limit_memory(MEMORY)
    # Nothing that is loaded may write between the answers.
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    with tempfile.TemporaryDirectory(prefix="guppy-draw-") as folder:
        desk = _Desk(Path(folder) / "persona.yaml")
        for line in sys.stdin.buffer:
            answers.write(json.dumps(desk.answer(json.loads(line))).encode() + b"\n")
            answers.flush()


class _Desk:
    """Answers requests; what was loaded last stays at hand."""

    def __init__(self, draft: Path) -> None:
        self.draft = draft
        self._loaded: dict[str, tuple[object, Persona]] = {}
        self._text, self._written = None, None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a request asks for, or one sentence."""
        try:
            persona = self._written_persona(request["text"]) if "text" in request else self._persona(request["persona"])
            if request.get("split"):
                check_split(persona)
            samples = draw(persona, request["count"], request["seed"], request.get("topic"))
            return {"about": about(persona), "samples": [_sample(row) for row in samples]}
        except GuppyError as error:
            return located(str(error), str(self.draft))
        except (RecursionError, MemoryError):
            return {"error": "this persona asks for more memory than there is; make it smaller", "line": None}
        except Exception as error:
            traceback.print_exc()
            return {"error": f"this persona cannot be drawn from ({type(error).__name__})", "line": None}

    def _persona(self, name: str) -> Persona:
        known = self._loaded.get(name)
        if known is None or known[0] != _stamps(known[1]):
            persona = load_persona(name)
            known = self._loaded[name] = (_stamps(persona), persona)
        return known[1]

    def _written_persona(self, text: str) -> Persona:
        if text != self._text or self._written is None:
            self._text, self._written = None, None
            self.draft.write_bytes(text.encode("utf-8", "surrogatepass"))
            check_aliases(text, self.draft)
            persona = load_persona(self.draft)
            pairs = sum(len(scene.then) for scene in persona.scenes)
            if pairs > MOST_PAIRS:
                raise GuppyError(
                    f"{len(persona.scenes):,} scenes with all that may follow them are {pairs:,} pairs, more than fit "
                    "here; take some of the persona's own follow-ups out"
                )
            self._text, self._written = text, persona
        return self._written


def about(persona: Persona) -> dict[str, Any]:
    """What a persona is, in numbers and its own words. Shares of topics are the grammar's, of all conversations."""
    shares: Counter[str] = Counter()
    for scene in persona.scenes:
        shares[scene.topic] += scene.probability
    return {
        "name": persona.name[:LONGEST_NAME],
        "description": persona.description,
        "voice": persona.voice,
        "obsession": list(persona.obsession),
        "turns": list(persona.turns),
        "topics": [{"name": topic, "share": shares[topic]} for topic in persona.topics],
        "scenes": len(persona.scenes),
        "follow_ups": len({exchange.number for scene in persona.scenes for _, exchange in scene.then}),
    }


def draw(persona: Persona, count: int, seed: int, topic: str | None = None) -> list[Conversation]:
    """So many conversations of that seed, all of them or those that begin with that topic."""
    if topic is None:
        return persona.generate(count, seed)
    if topic not in persona.topics:
        raise GuppyError(f"there is no topic {topic[:80]!r} here")
    found: list[Conversation] = []
    for rows in DRAWS:
        found = [row for row in persona.generate(rows, seed) if row.category == topic][:count]
        if len(found) == count:
            break
    return found


def check_split(persona: Persona) -> None:
    """Raise GuppyError where training would: nothing can be held out that training does not say as well."""
    try:
        draw_split(persona, SPLIT_ROWS, seed=0)
    except GuppyError:
        raise GuppyError(
            "it says too little to be tested on something that it was not trained on; give it more prompts and replies"
        ) from None


def located(message: str, path: str) -> dict[str, Any]:
    """An error about a file without the file's path, and the line it names."""
    match = re.match(re.escape(path) + r"(?:, line (\d+))?(:?) ", message)
    if not match:
        return {"error": message.replace(path, "the persona"), "line": None}
    error = ("" if match[2] else "it ") + message[match.end() :]
    return {"error": error, "line": int(match[1]) if match[1] else None}


def check_aliases(text: str, path: Path) -> None:
    """Raise GuppyError where YAML repeats parts of the text (&name … *name) until few words stand for millions."""
    count, sizes = 0, {}
    begun: list[tuple[str | None, int]] = []
    with suppress(yaml.YAMLError, UnicodeError):  # what is no YAML, or no text, is told when it is loaded
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                count += sizes.get(event.anchor, 0)
            elif isinstance(event, yaml.ScalarEvent):
                count += NODE + len(event.value)
                sizes[event.anchor] = NODE + len(event.value)
            elif isinstance(event, yaml.CollectionStartEvent):
                begun.append((event.anchor, count))
                count += NODE
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = begun.pop()
                sizes[anchor] = count - before
            if count > MOST_REPEATED:
                line = event.start_mark.line + 1
                raise GuppyError(f"{path}, line {line}: too much is repeated with *names by here; use rules instead")


def _sample(row: Conversation) -> dict[str, Any]:
    return {"category": row.category, "turns": [list(pair) for pair in row.exchanges]}


def _stamps(persona: Persona) -> list[tuple[str, int]]:
    return [(str(path), path.stat().st_mtime_ns) for path in persona.files if path.exists()]


if __name__ == "__main__":
    main()
