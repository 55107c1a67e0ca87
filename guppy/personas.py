"""Personas: grammars in YAML from which conversations are drawn.

    name: guppy
    description: a small fish who is sure that the meaning of life is food
    voice: lowercase, short sentences
    prompt_noise: {capital: 0.2, shout: 0.02, bare: 0.4, typo: 0.05}     # each a probability, each optional
    prompt_frames: ["{prompt}", "hey guppy, {prompt}"]                   # optional; {prompt} is the prompt
    turns: {2: 0.1, 3: 0.025}                                            # optional: shares of longer conversations
    obsession: [food, flakes, pellets]                                   # optional: words that its talk comes back to
    rules:                                                               # shared lists, usable in each template
      food: [flakes, 3: pellets]                                         # drawn three times as often
      snack: ["(a few|some) {food}"]
    then: [{prompts: ["why?"], replies: ["{snack} told me."]}]           # optional: follow-ups that fit anything
    topics:
      hunger:
        slots: {treat: ["{food}", shrimp]}           # drawn once: prompt and reply see the same
        rules: {sure: [oh yes., yes.]}               # only for this topic
        prompts: ["would you like {treat}?"]
        replies: ["{sure} {treat} [and {snack}] would be lovely."]
        then: [{prompts: ["why {treat}?"], replies: ["i like {treat}."]}]    # optional: follow-ups of this scene
      weather: [{prompts: …, replies: …}, …]         # or several scenes, each with `weight` if not even

A persona is such a file, or a folder in which `persona.yaml` holds all of it but topics, and every other .yaml file
holds `topics` and perhaps `rules` for them. A follow-up has `prompts`, `replies` and perhaps `weight` and `rules`; it
sees the slots and rules of its scene.

`guppy/templates.py` explains what a template may hold. Rules must not lead back to themselves, so that every
text ends. Each mistake is reported with file, line and how to mend it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from guppy.errors import GuppyError
from guppy.grammar import Conversation, Exchange, Noise, Persona, Scene
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
from guppy.yaml_lines import YamlFile, did_you_mean

__all__ = ["PERSONAS_DIR", "Conversation", "Persona", "list_personas", "load_persona"]

PERSONAS_DIR = Path(__file__).resolve().parent.parent / "data" / "personas"
# The file of a folder that holds all but its topics.
MAIN_FILE = "persona.yaml"
# A prompt or reply that can grow beyond this (rules that double each other do) would fill the memory.
LONGEST_TEXT = 1000

_PERSONA_KEYS = (
    "name", "description", "voice", "prompt_noise", "prompt_frames", "turns", "obsession", "rules", "then", "topics"
)  # fmt: skip
_FILE_KEYS = ("rules", "topics")
_SCENE_KEYS = ("slots", "rules", "prompts", "replies", "then", "weight")
_FOLLOW_UP_KEYS = ("rules", "prompts", "replies", "weight")
_NOISE_KEYS = ("capital", "shout", "bare", "typo")
_TURNS = ("2", "3")


def list_personas() -> list[str]:
    """Names of the personas that come with Guppy."""
    files = {path.stem for path in PERSONAS_DIR.glob("*.yaml")}
    return sorted(files | {path.parent.name for path in PERSONAS_DIR.glob(f"*/{MAIN_FILE}")})


def load_persona(name_or_path: str | Path) -> Persona:
    """Read a persona: a name stands for `data/personas/<name>.yaml` or the folder `data/personas/<name>`, anything
    else is the path of a file or a folder.

    Raises:
        GuppyError: there is no such persona, or its files have a mistake (with its line and how to mend it).
    """
    path = Path(name_or_path)
    if str(name_or_path) in list_personas():
        bundled = PERSONAS_DIR / f"{name_or_path}.yaml"
        path = bundled if bundled.is_file() else bundled.with_suffix("")
    if path.is_dir():
        main = path / MAIN_FILE
        if not main.is_file():
            raise GuppyError(f"there is no {MAIN_FILE} in {path}; write its name, voice and rules into one")
        files = [main, *(other for other in sorted(path.glob("*.yaml")) if other != main)]
    elif path.is_file():
        files = [path]
    else:
        hint = did_you_mean(str(name_or_path), list_personas())
        raise GuppyError(f"there is no persona '{name_or_path}'; {hint}, or give the path of a .yaml file or a folder")
    try:
        return _read(path, files)
    except RecursionError:
        raise GuppyError(f"{path} nests its brackets or rules too deeply; make it flatter") from None


def _read(path: Path, files: list[Path]) -> Persona:
    numbers = itertools.count()
    main, *others = (_Reader(YamlFile(file), numbers) for file in files)
    top = main.file.mapping(main.file.root, "a persona", _PERSONA_KEYS)
    for key in ("name", "topics") if not others else ("name",):
        if key not in top:
            raise main.file.error(main.file.root, f"the persona has no '{key}'", f"add a '{key}:' at the left margin")
    scope = main.scope(top)
    then = main.follow_ups(top["then"], scope) if "then" in top else []
    topics = main.topics(top["topics"], scope) if "topics" in top else []
    for other in others:
        held = other.file.mapping(other.file.root, "a file of topics", _FILE_KEYS)
        if "topics" not in held:
            raise other.file.error(other.file.root, "this file has no 'topics'", "add them, or delete the file")
        topics += other.topics(held["topics"], other.scope(held, scope))
    _check_topics(topics)
    text = {key: main.file.text(top[key], key) if key in top else "" for key in ("name", "description", "voice")}
    return Persona(
        **text,
        path=path,
        files=files,
        scenes=[scene for topic in topics for scene in topic.reader.scenes(topic, 1 / len(topics), then)],
        frame=main.frame(top, scope),
        noise=main.noise(top["prompt_noise"]) if "prompt_noise" in top else Noise(),
        turns=main.turns(top["turns"]) if "turns" in top else (1.0,),
        obsession=main.words(top["obsession"], "obsession") if "obsession" in top else (),
    )


@dataclass(frozen=True)
class _Topic:
    """A topic as it stands in a file, and what its templates can refer to."""

    name: str
    body: yaml.Node
    scope: _Scope
    reader: _Reader


def _check_topics(topics: list[_Topic]) -> None:
    seen: dict[str, YamlFile] = {}
    for topic in topics:
        if topic.name in seen:
            raise topic.reader.file.error(
                topic.body, f"topic '{topic.name}' stands in {seen[topic.name].path.name} too", "keep one of them"
            )
        seen[topic.name] = topic.reader.file


@dataclass(frozen=True)
class _Rule:
    """A parsed list of templates and where it stands."""

    node: Node
    place: yaml.Node
    file: YamlFile


class _Scope:
    """Names that templates of one place can refer to: slots, own rules, and those of the scope around."""

    def __init__(self, rules: Mapping[str, _Rule], around: _Scope | None = None) -> None:
        self.rules = dict(rules)
        self.around = around
        self.slots: dict[str, Compiled] = {}
        self._done: dict[str, Compiled] = {}
        self._open: list[str] = []
        if around:
            for name, rule in rules.items():
                around.check_new(name, rule)

    def names(self) -> set[str]:
        return {*self.slots, *self.rules} | (self.around.names() if self.around else set())

    def check_new(self, name: str, rule: _Rule) -> None:
        if name in self.names():
            raise rule.file.error(rule.place, f"'{name}' is defined twice", "give one of them another name")

    def compile(self, rule: _Rule) -> Compiled:
        return compile_template(rule.node, lambda name: self._lookup(name, rule, self))

    def _lookup(self, name: str, asker: _Rule, asking: _Scope) -> Compiled:
        if name in self.slots:
            return slot(name, self.slots[name])
        if name in self._open:
            loop = " → ".join([*self._open[self._open.index(name) :], name])
            rule = self.rules[name]
            raise rule.file.error(rule.place, f"rule '{name}' never ends ({loop})", "take one of these references out")
        if name in self.rules:
            if name not in self._done:
                self._open.append(name)
                self._done[name] = self.compile(self.rules[name])
                self._open.pop()
            return self._done[name]
        if self.around:
            return self.around._lookup(name, asker, asking)
        place = _first_mention(asker.place, name)
        raise asker.file.error(place, f"unknown rule {{{name}}}", did_you_mean(name, asking.names(), "{{{}}}"))


class _Reader:
    """Makes parts of a persona of the nodes of one file. `numbers` counts the exchanges of all files."""

    def __init__(self, file: YamlFile, numbers: Iterator[int]) -> None:
        self.file = file
        self.numbers = numbers

    # -- parts of a file -------------------------------------------------------------------------

    def scope(self, top: Mapping[str, yaml.Node], around: _Scope | None = None) -> _Scope:
        """The file's own rules; all are compiled, so that a mistake in one that nobody uses is told as well."""
        scope = _Scope(self._rules(top["rules"]) if "rules" in top else {}, around)
        for name, rule in scope.rules.items():
            scope.compile(_Rule(Reference(name), rule.place, rule.file))
        return scope

    def topics(self, node: yaml.Node, scope: _Scope) -> list[_Topic]:
        return [_Topic(name, body, scope, self) for name, body in self.file.mapping(node, "topics").items()]

    def scenes(self, topic: _Topic, probability: float, then: list[tuple[float, Exchange]]) -> list[Scene]:
        """The scenes of a topic of this probability; `then` are the follow-ups that fit any of them."""
        what = f"topic '{topic.name}'"
        places, parts, weights = self._weighted(topic.body, what, _SCENE_KEYS)
        scenes = []
        for place, part, weight in zip(places, parts, weights, strict=True):
            outer = _Scope({}, topic.scope)
            for name, rule in (self._rules(part["slots"]) if "slots" in part else {}).items():
                outer.check_new(name, rule)
                outer.slots[name] = outer.compile(rule)
            scope = _Scope(self._rules(part["rules"]) if "rules" in part else {}, outer)
            exchange = self._exchange(place, part, scope, what)
            own = self.follow_ups(part["then"], scope) if "then" in part else []
            scenes.append(Scene(topic.name, probability * weight, exchange, (*own, *then)))
        return scenes

    def follow_ups(self, node: yaml.Node, around: _Scope) -> list[tuple[float, Exchange]]:
        """Follow-ups with weights that sum to 1, so that a scene's own ones weigh as much as the persona's."""
        found = []
        for place, part, weight in zip(*self._weighted(node, "'then'", _FOLLOW_UP_KEYS), strict=True):
            scope = _Scope(self._rules(part["rules"]) if "rules" in part else {}, around)
            found.append((weight, self._exchange(place, part, scope, "a follow-up")))
        return found

    def frame(self, top: Mapping[str, yaml.Node], around: _Scope) -> Draw:
        scope = _Scope({}, around)
        scope.slots["prompt"] = Compiled(lambda random, slots, nats: "", 1, LONGEST_TEXT)
        if "prompt_frames" not in top:
            return slot("prompt", scope.slots["prompt"]).draw
        self._said(top["prompt_frames"], "prompt_frames", scope, 2 * LONGEST_TEXT)
        return scope.compile(self._rule(top["prompt_frames"], "prompt_frames")).draw

    def noise(self, node: yaml.Node) -> Noise:
        named = self.file.mapping(node, "prompt_noise", _NOISE_KEYS)
        return Noise(**{key: self._probability(body, key) for key, body in named.items()})

    def words(self, node: yaml.Node, what: str) -> list[str]:
        return [self.file.text(item, f"each entry of '{what}'").lower() for item in self.file.items(node, what)]

    def turns(self, node: yaml.Node) -> tuple[float, ...]:
        """Shares of conversations of one, two and three turns."""
        named = self.file.mapping(node, "turns", _TURNS)
        two, three = (self._probability(named[key], key) if key in named else 0.0 for key in _TURNS)
        if two + three > 1:
            raise self.file.error(node, f"the shares of 'turns' sum to {two + three:g}", "let them sum to 1 or less")
        return (1 - two - three, two, three)

    # -- their parts -----------------------------------------------------------------------------

    def _weighted(
        self, node: yaml.Node, what: str, keys: tuple[str, ...]
    ) -> tuple[list[yaml.Node], list[dict[str, yaml.Node]], list[float]]:
        """A list of mappings (one may do without the list): their nodes, their entries, and weights of sum 1."""
        if isinstance(node, yaml.SequenceNode) and not node.value:
            raise self.file.error(node, f"{what} is empty", "give it prompts and replies")
        places = node.value if isinstance(node, yaml.SequenceNode) else [node]
        parts = [self.file.mapping(place, what, keys) for place in places]
        weights = [self._weight(part["weight"]) if "weight" in part else 1.0 for part in parts]
        return places, parts, [weight / sum(weights) for weight in weights]

    def _exchange(self, place: yaml.Node, part: Mapping[str, yaml.Node], scope: _Scope, what: str) -> Exchange:
        for key in ("prompts", "replies"):
            if key not in part:
                raise self.file.error(place, f"{what} has no {key}", f"add a list of {key}")
        prompts, replies = (self._said(part[key], key, scope) for key in ("prompts", "replies"))
        return Exchange(next(self.numbers), prompts, replies)

    def _said(self, node: yaml.Node, what: str, scope: _Scope, longest: int = LONGEST_TEXT) -> list[tuple[float, Draw]]:
        """A list of templates that say something, and not too much, with their weights."""
        said = []
        for item in self.file.items(node, what):
            weight, template = self._option(item, what)
            compiled = scope.compile(_Rule(template, item, self.file))
            if compiled.shortest == 0:
                raise self.file.error(item, f"one of the {what} can come out empty", "put text outside of [ ] and (a|)")
            if compiled.longest > longest:
                raise self.file.error(
                    item,
                    f"one of the {what} can grow beyond {longest:,} characters",
                    "shorten it; rules that use another one twice grow fast",
                )
            said.append((weight, compiled.draw))
        return said

    def _rules(self, node: yaml.Node) -> dict[str, _Rule]:
        return {name: self._rule(body, name) for name, body in self.file.mapping(node, "rules").items()}

    def _rule(self, node: yaml.Node, name: str) -> _Rule:
        """A list of templates, each alone or as `weight: template`; one template may do without the list."""
        options = [self._option(item, name) for item in self.file.items(node, name)]
        if len(options) == 1:
            return _Rule(options[0][1], node, self.file)
        weights, nodes = zip(*options, strict=True)
        return _Rule(Choice(nodes, weights), node, self.file)

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

    def _probability(self, node: yaml.Node, key: str) -> float:
        number = self.file.number(node, key)
        if number > 1:
            raise self.file.error(node, f"'{key}' is {number:g}", "give a probability between 0 and 1")
        return number

    def _template(self, node: yaml.Node, name: str) -> Node:
        try:
            return parse(self.file.text(node, f"each entry of '{name}'"))
        except TemplateError as error:
            raise self.file.error(node, f"in {node.value!r}", str(error)) from None


def _first_mention(place: yaml.Node, name: str) -> yaml.Node:
    """The node below `place` that holds the reference, so that the line is the template's own."""
    if isinstance(place, yaml.ScalarNode):
        return place
    below = [node for item in place.value for node in (item if isinstance(item, tuple) else (item,))]
    leaves = [leaf for node in below for leaf in [_first_mention(node, name)] if f"{{{name}}}" in str(leaf.value)]
    return leaves[0] if leaves else place
