"""Drawing conversations: scenes, their follow-ups, and what typing does to a prompt.

Each draw is a chain of choices of known probability, so a conversation comes with the nats, -ln p, of the choices that
led to it, and with the combinations of rules that it is made of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from guppy.templates import Draw, Source, picker
from guppy.tokenizer import IM_END, IM_START

CONTEXT = 128
"""Context length of the presets: a further turn that might not fit it is left out."""
# What the marks and roles of a prompt and its reply take, and what their letters take at worst: a word in capitals or
# with a slip in it is spelled in pieces. Of conversations of several turns under 0.1% turn out too long with these.
TURN_TOKENS = 10
CHARACTERS_PER_TOKEN = 3.6
CHARACTERS_PER_TOKEN_IN_CAPITALS = 1.6
# Of the further turns that could follow up on the scene before, so many do; the others begin a new scene.
FOLLOW_UP = 0.5

_SPACE_BEFORE_MARK = re.compile(r" (?=[.,?!])")


@dataclass(frozen=True)
class Conversation:
    """A question and its answer, and perhaps further ones: `later` holds (prompt, reply) pairs."""

    input: str
    output: str
    category: str
    later: tuple[tuple[str, str], ...] = ()

    @property
    def exchanges(self) -> tuple[tuple[str, str], ...]:
        """All (prompt, reply) pairs."""
        return ((self.input, self.output), *self.later)

    @property
    def messages(self) -> list[tuple[str, str]]:
        """All turns as (role, text)."""
        return [turn for asked, said in self.exchanges for turn in (("user", asked), ("assistant", said))]

    @property
    def text(self) -> str:
        """The conversation in ChatML."""
        return "\n".join(f"{IM_START}{role}\n{text}{IM_END}" for role, text in self.messages)


class Combination(NamedTuple):
    """What an exchange is made of: what is asked about and how it is answered.

    `about` is the values of the slots that were drawn, as (name, value), or where there are none ("", number of the
    prompt's template); `answer` is the number of the reply's template.
    """

    exchange: int
    about: tuple[tuple[str, str], ...]
    answer: int

    @property
    def parts(self) -> list[tuple[int, object]]:
        """What can be known of it without knowing the whole."""
        return [(self.exchange, part) for part in (*self.about, self.answer)]


class Drawn(NamedTuple):
    """A conversation, the nats of the choices that led to it, and a combination for each of its exchanges."""

    conversation: Conversation
    nats: float
    combinations: tuple[Combination, ...]


class Exchange:
    """Prompts and the replies that fit each of them. `number` is its own within the persona."""

    def __init__(self, number: int, prompts: Sequence[tuple[float, Draw]], replies: Sequence[tuple[float, Draw]]):
        self.number = number
        self.prompts, self.replies = ([draw for _, draw in said] for said in (prompts, replies))
        self._pick_prompt, self._pick_reply = (picker([weight for weight, _ in said]) for said in (prompts, replies))

    def draw(self, random: Source, slots: dict[str, str], nats: list[float]) -> tuple[str, str, Combination]:
        """A prompt, its reply and their combination; `slots` gains those that were first mentioned here."""
        asked, answered = self._pick_prompt(random, nats), self._pick_reply(random, nats)
        prompt = self.prompts[asked](random, slots, nats)
        reply = self.replies[answered](random, slots, nats)
        about = tuple(sorted(slots.items())) if slots else (("", str(asked)),)
        return prompt, reply, Combination(self.number, about, answered)


@dataclass(frozen=True)
class Scene:
    """An exchange and what may follow it. `probability` is its share of all scenes.

    Attributes:
        then: weights and follow-ups, the scene's own and the persona's.
    """

    topic: str
    probability: float
    exchange: Exchange
    then: tuple[tuple[float, Exchange], ...]


@dataclass(frozen=True)
class Noise:
    """How people type: probabilities of a capital first letter, all capitals, no final mark, and a slip."""

    capital: float = 0.0
    shout: float = 0.0
    bare: float = 0.0
    typo: float = 0.0

    def apply(self, text: str, random: Source, nats: list[float]) -> str:
        """`text` as somebody in a hurry might have typed it. What would change nothing is not drawn."""
        if _happens(self.typo, random, nats):
            text = _slip(text, random, nats)
        bare = text.rstrip("?!.")
        if bare and bare != text and _happens(self.bare, random, nats):
            text = bare
        upper = text.upper()
        if upper != text and _happens(self.shout, random, nats):
            return upper
        if upper[0] != text[0] and _happens(self.capital, random, nats):
            return upper[0] + text[1:]
        return text


class Persona:
    """A loaded persona.

    Attributes:
        files: what it was read from; `path` is the file or the folder of them.
        turns: shares of conversations of one turn, of two, and so on.
        obsession: the words that its talk comes back to, lowercase; empty where the file names none.
    """

    def __init__(
        self,
        name: str,
        description: str,
        voice: str,
        path: Path,
        files: Sequence[Path],
        scenes: Sequence[Scene],
        frame: Draw,
        noise: Noise,
        turns: Sequence[float],
        obsession: Sequence[str] = (),
    ) -> None:
        self.name, self.description, self.voice = name, description, voice
        self.path, self.files, self.obsession = path, tuple(files), tuple(obsession)
        self.scenes, self.frame, self.noise, self.turns = tuple(scenes), frame, noise, tuple(turns)
        self._pick_scene = picker([scene.probability for scene in scenes])
        self._pick_turns = picker(turns)
        self._pick_follow_up = {
            scene.exchange.number: picker([weight for weight, _ in scene.then]) for scene in scenes if scene.then
        }

    @property
    def topics(self) -> list[str]:
        """The topics in the order of the files."""
        return list(dict.fromkeys(scene.topic for scene in self.scenes))

    def generate(self, rows: int, seed: int) -> list[Conversation]:
        """Draw `rows` conversations. The same seed gives the same ones, and more rows only add to the end."""
        return [drawn.conversation for drawn in self.draw(rows, seed)]

    def draw(self, rows: int, seed: int) -> list[Drawn]:
        """Draw what `generate` does, with what is known of each draw."""
        source = Random(seed).random
        return [self._draw(source) for _ in range(rows)]

    def _draw(self, random: Source) -> Drawn:
        nats: list[float] = []
        turns = 1 + self._pick_turns(random, nats)
        first = scene = self.scenes[self._pick_scene(random, nats)]
        slots: dict[str, str] = {}
        prompt, reply, combination = self._say(scene.exchange, True, random, slots, nats)
        if turns == 1:
            return Drawn(Conversation(prompt, reply, scene.topic), sum(nats), (combination,))
        room = CONTEXT - _tokens(prompt, reply)
        later, combinations, before = [], [combination], scene.exchange
        for _ in range(turns - 1):
            follow_up = self._follow_up(scene, random, nats)
            if follow_up is None or follow_up is before:
                scene, slots = self.scenes[self._pick_scene(random, nats)], {}
                before = scene.exchange
                asked, said, combination = self._say(scene.exchange, True, random, slots, nats)
            else:
                before = follow_up
                asked, said, combination = self._say(follow_up, False, random, slots, nats)
            room -= _tokens(asked, said)
            if room < 0:
                break
            later.append((asked, said))
            combinations.append(combination)
        return Drawn(Conversation(prompt, reply, first.topic, tuple(later)), sum(nats), tuple(combinations))

    def _follow_up(self, scene: Scene, random: Source, nats: list[float]) -> Exchange | None:
        """A follow-up of the scene; None: begin a new one."""
        if not scene.then or not _happens(FOLLOW_UP, random, nats):
            return None
        return scene.then[self._pick_follow_up[scene.exchange.number](random, nats)][1]

    def _say(
        self, exchange: Exchange, framed: bool, random: Source, slots: dict[str, str], nats: list[float]
    ) -> tuple[str, str, Combination]:
        prompt, reply, combination = exchange.draw(random, slots, nats)
        if framed:
            prompt = self.frame(random, {"prompt": prompt}, nats)
        return self.noise.apply(_squeeze(prompt), random, nats), _squeeze(reply), combination


def _tokens(prompt: str, reply: str) -> float:
    """More tokens than an exchange will have, almost surely."""
    shouted = CHARACTERS_PER_TOKEN_IN_CAPITALS if prompt.isupper() else CHARACTERS_PER_TOKEN
    return TURN_TOKENS + len(prompt) / shouted + len(reply) / CHARACTERS_PER_TOKEN


def _happens(probability: float, random: Source, nats: list[float]) -> bool:
    if not probability:
        return False
    happened = random() < probability
    nats.append(-math.log(probability if happened else 1 - probability))
    return happened


def _squeeze(text: str) -> str:
    """One space where optional parts left none or two, and none before a mark."""
    return _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def _slip(text: str, random: Source, nats: list[float]) -> str:
    """Swap, drop or double one letter inside a word."""
    places = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not places:
        return text
    at = places[int(random() * len(places))]
    swapped, dropped = 0.5, 0.3
    kind = random()
    if kind < swapped:
        nats.append(math.log(len(places) / swapped))
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind < swapped + dropped:
        nats.append(math.log(len(places) / dropped))
        return text[:at] + text[at + 1 :]
    nats.append(math.log(len(places) / (1 - swapped - dropped)))
    return text[:at] + text[at] + text[at:]
