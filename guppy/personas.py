"""Persona files: a grammar in YAML from which conversations are drawn.

    name: guppy
    description: a small fish who is sure that the meaning of life is food
    voice: lowercase, short sentences
    prompt_noise: {capital: 0.2, shout: 0.02, bare: 0.4, typo: 0.05}     # each a probability, each optional
    prompt_frames: ["{prompt}", "hey guppy, {prompt}"]                   # optional; {prompt} is the prompt
    rules:                                                               # shared lists, usable in each template
      food: [flakes, 3: pellets]                                         # drawn three times as often
      snack: ["(a few|some) {food}"]
    topics:
      hunger:
        slots: {treat: ["{food}", shrimp]}           # drawn once: prompt and reply see the same
        rules: {sure: [oh yes., yes.]}               # only for this topic
        prompts: ["would you like {treat}?"]
        replies: ["{sure} {treat} [and {snack}] would be lovely."]
      weather: [{prompts: …, replies: …}, …]         # or several scenes, each with `weight` if not even

`guppy/templates.py` explains what a template may hold. Rules must not lead back to themselves, so that every
text ends. Each mistake is reported with file, line and how to mend it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

import yaml

from guppy.errors import GuppyError
from guppy.templates import (
    Choice,
    Compiled,
    Draw,
    Node,
    Reference,
    TemplateError,
    compile_template,
    parse,
    slot,
)
from guppy.tokenizer import IM_END, IM_START
from guppy.yaml_lines import YamlFile, did_you_mean

PERSONAS_DIR = Path(__file__).resolve().parent.parent / "data" / "personas"
# A prompt or reply that can grow beyond this (rules that double each other do) would fill the memory.
LONGEST_TEXT = 1000

_SPACE_BEFORE_MARK = re.compile(r" (?=[.,?!])")

_TOP_KEYS = ("name", "description", "voice", "prompt_noise", "prompt_frames", "rules", "topics")
_SCENE_KEYS = ("slots", "rules", "prompts", "replies", "weight")
_NOISE_KEYS = ("capital", "shout", "bare", "typo")


@dataclass(frozen=True)
class Conversation:
    """One question and its answer."""

    input: str
    output: str
    category: str

    @property
    def text(self) -> str:
        """The conversation in ChatML."""
        return f"{IM_START}user\n{self.input}{IM_END}\n{IM_START}assistant\n{self.output}{IM_END}"


@dataclass(frozen=True)
class Scene:
    """Prompts and the replies that fit each of them. `probability` is its share of all conversations."""

    topic: str
    probability: float
    slots: tuple[tuple[str, Draw], ...]
    prompt: Draw
    reply: Draw


@dataclass(frozen=True)
class Noise:
    """How people type: probabilities of a capital first letter, all capitals, no final mark, and a slip."""

    capital: float = 0.0
    shout: float = 0.0
    bare: float = 0.0
    typo: float = 0.0

    def apply(self, text: str, random: Callable[[], float]) -> str:
        """`text` as somebody in a hurry might have typed it."""
        if random() < self.typo:
            text = _slip(text, random)
        if random() < self.bare:
            text = text.rstrip("?!.") or text
        if random() < self.shout:
            return text.upper()
        if random() < self.capital:
            return text[:1].upper() + text[1:]
        return text


@dataclass(frozen=True)
class Persona:
    """A loaded persona file."""

    name: str
    description: str
    voice: str
    path: Path
    scenes: tuple[Scene, ...]
    frame: Draw
    noise: Noise

    @property
    def topics(self) -> list[str]:
        """The topics in the order of the file."""
        return list(dict.fromkeys(scene.topic for scene in self.scenes))

    def generate(self, rows: int, seed: int) -> list[Conversation]:
        """Draw `rows` conversations. The same seed gives the same ones, and more rows only add to the end."""
        random = Random(seed).random
        *bounds, _ = accumulate(scene.probability for scene in self.scenes)
        return [self._draw(self.scenes[bisect_right(bounds, random())], random) for _ in range(rows)]

    def _draw(self, scene: Scene, random: Callable[[], float]) -> Conversation:
        slots: dict[str, str] = {}
        for name, draw in scene.slots:
            slots[name] = draw(random, slots)
        prompt = self.frame(random, {"prompt": scene.prompt(random, slots)})
        reply = scene.reply(random, slots)
        return Conversation(self.noise.apply(_squeeze(prompt), random), _squeeze(reply), scene.topic)


def list_personas() -> list[str]:
    """Names of the personas that come with Guppy."""
    return sorted(path.stem for path in PERSONAS_DIR.glob("*.yaml"))


def load_persona(name_or_path: str | Path) -> Persona:
    """Read a persona: a name stands for `data/personas/<name>.yaml`, anything else is a path.

    Raises:
        GuppyError: there is no such persona, or its file has a mistake (with its line and how to mend it).
    """
    bundled = PERSONAS_DIR / f"{name_or_path}.yaml"
    path = bundled if str(name_or_path) in list_personas() else Path(name_or_path)
    if not path.is_file():
        hint = did_you_mean(str(name_or_path), list_personas())
        raise GuppyError(f"there is no persona '{name_or_path}'; {hint}, or give the path of a .yaml file")
    try:
        return _Reader(YamlFile(path)).persona()
    except RecursionError:
        raise GuppyError(f"{path} nests its brackets or rules too deeply; make it flatter") from None


@dataclass(frozen=True)
class _Rule:
    """A parsed list of templates and where it stands in the file."""

    node: Node
    place: yaml.Node


class _Scope:
    """Names that templates of one place can refer to: slots, own rules, and those of the scope around."""

    def __init__(self, reader: _Reader, rules: Mapping[str, _Rule], around: _Scope | None = None) -> None:
        self.reader = reader
        self.rules = dict(rules)
        self.around = around
        self.slots: dict[str, Compiled] = {}
        self._done: dict[str, Compiled] = {}
        self._open: list[str] = []

    def names(self) -> set[str]:
        return {*self.slots, *self.rules} | (self.around.names() if self.around else set())

    def compile(self, rule: _Rule) -> Compiled:
        return compile_template(rule.node, lambda name: self._lookup(name, rule, self))

    def _lookup(self, name: str, asker: _Rule, asking: _Scope) -> Compiled:
        if name in self.slots:
            return slot(name, self.slots[name])
        if name in self._open:
            loop = " → ".join([*self._open[self._open.index(name) :], name])
            raise self.reader.file.error(
                self.rules[name].place, f"rule '{name}' never ends ({loop})", "take one of these references out"
            )
        if name in self.rules:
            if name not in self._done:
                self._open.append(name)
                self._done[name] = self.compile(self.rules[name])
                self._open.pop()
            return self._done[name]
        if self.around:
            return self.around._lookup(name, asker, asking)
        place = _first_mention(asker.place, name)
        raise self.reader.file.error(place, f"unknown rule {{{name}}}", did_you_mean(name, asking.names(), "{{{}}}"))


class _Reader:
    """Makes a persona of the nodes of one file."""

    def __init__(self, file: YamlFile) -> None:
        self.file = file

    def persona(self) -> Persona:
        root = self.file.root
        top = self.file.mapping(root, "a persona", _TOP_KEYS)
        for key in ("name", "topics"):
            if key not in top:
                raise self.file.error(root, f"the persona has no '{key}'", f"add a '{key}:' at the left margin")
        scope = _Scope(self, self._rules(top["rules"]) if "rules" in top else {})
        for rule in scope.rules:
            scope.compile(_Rule(Reference(rule), scope.rules[rule].place))
        frame_scope = _Scope(self, {}, scope)
        frame_scope.slots["prompt"] = Compiled(str, 1, LONGEST_TEXT)
        frame = slot("prompt", frame_scope.slots["prompt"]).draw
        if "prompt_frames" in top:
            frame = self._said(top["prompt_frames"], "prompt_frames", frame_scope, 2 * LONGEST_TEXT)
        text = {key: self.file.text(top[key], key) if key in top else "" for key in ("name", "description", "voice")}
        return Persona(
            **text,
            path=self.file.path,
            scenes=self._topics(top["topics"], scope),
            frame=frame,
            noise=self._noise(top["prompt_noise"]) if "prompt_noise" in top else Noise(),
        )

    # -- parts of the file -----------------------------------------------------------------------

    def _topics(self, node: yaml.Node, scope: _Scope) -> tuple[Scene, ...]:
        topics = self.file.mapping(node, "topics")
        scenes = []
        for topic, body in topics.items():
            if isinstance(body, yaml.SequenceNode) and not body.value:
                raise self.file.error(body, f"topic '{topic}' is empty", "give it prompts and replies")
            bodies = body.value if isinstance(body, yaml.SequenceNode) else [body]
            parts = [self.file.mapping(part, f"topic '{topic}'", _SCENE_KEYS) for part in bodies]
            weights = [self._weight(part["weight"]) if "weight" in part else 1.0 for part in parts]
            for place, part, weight in zip(bodies, parts, weights, strict=True):
                probability = weight / sum(weights) / len(topics)
                scenes.append(self._scene(topic, place, part, probability, scope))
        return tuple(scenes)

    def _scene(
        self, topic: str, place: yaml.Node, part: Mapping[str, yaml.Node], probability: float, around: _Scope
    ) -> Scene:
        for key in ("prompts", "replies"):
            if key not in part:
                raise self.file.error(place, f"topic '{topic}' has no {key}", f"add a list of {key}")
        outer = _Scope(self, {}, around)
        draws = []
        for name, rule in (self._rules(part["slots"]) if "slots" in part else {}).items():
            self._check_new(name, rule.place, around)
            compiled = outer.compile(rule)
            outer.slots[name] = compiled
            draws.append((name, compiled.draw))
        scope = _Scope(self, self._rules(part["rules"]) if "rules" in part else {}, outer)
        for name, rule in scope.rules.items():
            self._check_new(name, rule.place, outer)
        return Scene(
            topic,
            probability,
            tuple(draws),
            self._said(part["prompts"], "prompts", scope),
            self._said(part["replies"], "replies", scope),
        )

    def _said(self, node: yaml.Node, what: str, scope: _Scope, longest: int = LONGEST_TEXT) -> Draw:
        for item in self.file.items(node, what):
            bounds = scope.compile(self._rule(item, what))
            if bounds.shortest == 0:
                raise self.file.error(item, f"one of the {what} can come out empty", "put text outside of [ ] and (a|)")
            if bounds.longest > longest:
                raise self.file.error(
                    item,
                    f"one of the {what} can grow beyond {longest:,} characters",
                    "shorten it; rules that use another one twice grow fast",
                )
        return scope.compile(self._rule(node, what)).draw

    def _check_new(self, name: str, place: yaml.Node, scope: _Scope) -> None:
        if name in scope.names():
            raise self.file.error(place, f"'{name}' is defined twice", "give one of them another name")

    def _rules(self, node: yaml.Node) -> dict[str, _Rule]:
        return {name: self._rule(body, name) for name, body in self.file.mapping(node, "rules").items()}

    def _rule(self, node: yaml.Node, name: str) -> _Rule:
        """A list of templates, each alone or as `weight: template`; one template may do without the list."""
        options = [self._option(item, name) for item in self.file.items(node, name)]
        weights = tuple(weight for weight, _ in options)
        if len(options) == 1:
            return _Rule(options[0][1], node)
        even = len(set(weights)) == 1
        return _Rule(Choice(tuple(option for _, option in options), None if even else weights), node)

    def _option(self, node: yaml.Node, name: str) -> tuple[float, Node]:
        if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            key, body = node.value[0]
            if key.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
                return self._weight(key), self._template(body, name)
        return 1.0, self._template(node, name)

    def _weight(self, node: yaml.Node) -> float:
        weight = self.file.number(node, "weight")
        if weight == 0:
            raise self.file.error(node, "a weight of 0 draws nothing", "delete the text, or give it a weight above 0")
        return weight

    def _template(self, node: yaml.Node, name: str) -> Node:
        try:
            return parse(self.file.text(node, f"each entry of '{name}'"))
        except TemplateError as error:
            raise self.file.error(node, f"in {node.value!r}", str(error)) from None

    def _noise(self, node: yaml.Node) -> Noise:
        numbers = {
            key: self.file.number(body, key)
            for key, body in self.file.mapping(node, "prompt_noise", _NOISE_KEYS).items()
        }
        for key, number in numbers.items():
            if number > 1:
                raise self.file.error(node, f"'{key}' is {number:g}", "give a probability between 0 and 1")
        return Noise(**numbers)


def _first_mention(place: yaml.Node, name: str) -> yaml.Node:
    """The node below `place` that holds the reference, so that the line is the template's own."""
    if isinstance(place, yaml.ScalarNode):
        return place
    below = [node for item in place.value for node in (item if isinstance(item, tuple) else (item,))]
    leaves = [leaf for node in below for leaf in [_first_mention(node, name)] if f"{{{name}}}" in str(leaf.value)]
    return leaves[0] if leaves else place


def _squeeze(text: str) -> str:
    """One space where optional parts left none or two, and none before a mark."""
    return _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))


def _slip(text: str, random: Callable[[], float]) -> str:
    """Swap, drop or double one letter inside a word."""
    places = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not places:
        return text
    at = places[int(random() * len(places))]
    kind = random()
    if kind < 0.5:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind < 0.8 else text[:at] + text[at] + text[at:]
