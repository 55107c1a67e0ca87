import math
import random
from collections import Counter

import pytest

from guppy.character import Character, theme_words
from guppy.replies import Exchange
from guppy.topics import TopicClassifier, learnable


def exchange(prompt, reply, topic="t", opening=True):
    return Exchange(prompt, reply, topic, opening)


@pytest.fixture
def character():
    learned = [
        exchange("what do you eat", "i eat red flakes.", "food"),
        exchange("and you", "the snail sleeps.", "snail"),
    ]
    return Character(learned, ["flake", "red food"])


def test_scores_by_hand(character):
    scores = character.scores(["i eat Flakes. the snail sleeps.", "i eat whales", "I EAT WHALES!", "?"])
    assert scores["lowercase"] == pytest.approx(1 / 3), "a reply without letters is neither"
    assert scores["reply_words"] == 12 / 4 and scores["sentence_words"] == 12 / 4
    assert scores["vocabulary"] == 10 / 12
    assert scores["obsession"] == 1 / 4
    assert scores["in_topic"] is None
    assert scores["distinct_1"] == 7 / 12 and scores["distinct_2"] == 6 / 9 and scores["distinct_3"] == 5 / 6
    assert scores["repeated"] == 1 / 4
    assert set(character.scores([]).values()) == {0, None}


def test_obsession_is_mentioned_as_a_word(character):
    said = {
        "a Flake!": True,
        "flakes": True,
        "red foods": True,
        "red wet food": False,
        "flaked": False,
        "cornflake": False,
    }
    assert {text: character.mentions(text) for text in said} == said
    assert not Character([exchange("same", "same")]).mentions("same")


def test_a_theme_is_what_replies_say_and_prompts_do_not():
    prompts, replies = (
        Counter({"you": 50, "glass": 30, "night": 20}),
        Counter({"snail": 40, "glass": 30, "the": 60, "gem": 1}),
    )
    assert theme_words(replies, prompts) == ("snail", "gem")
    assert theme_words(Counter(), prompts) == ()
    # By hand, with the prior's share of each word.
    many, few = Counter({"flake": 300, "leaf": 20, "rest": 680}), Counter({"flake": 100, "leaf": 1, "rest": 899})
    z = {}
    for word in ("flake", "leaf"):
        prior = 1000 * (many[word] + few[word]) / 2000
        a, b = many[word] + prior, few[word] + prior
        z[word] = (math.log(a / (2000 - a)) - math.log(b / (2000 - b))) / math.sqrt(1 / a + 1 / b)
    assert theme_words(many, few) == tuple(sorted(z, key=lambda word: -z[word]))


def test_topics_are_told_apart_and_order_matters():
    source = random.Random(0)
    makers = {
        "food": lambda: f"{source.choice(['i', 'we'])} eat {source.choice(['flakes', 'peas', 'worms'])} today",
        "race": lambda: f"snail beats {source.choice(['me', 'you'])} today",
        "loss": lambda: f"{source.choice(['me', 'you'])} beats snail today",
    }
    rows = [(make(), topic) for topic, make in makers.items() for _ in range(40)]
    source.shuffle(rows)
    replies, topics = zip(*rows, strict=True)
    classifier = TopicClassifier(replies[:90], topics[:90])
    assert classifier.topics == ["food", "loss", "race"]
    assert classifier.accuracy(replies[90:], topics[90:]) == 1
    assert classifier.guess(["you beats snail", "snail beats you", "peas"]) == ["loss", "race", "food"]
    common = Counter(topics[:90]).most_common(1)[0][0]
    assert classifier.guess(["", "nothing known"]) == [common, common]


def test_in_topic_is_learned_from_openings_only():
    learned = [exchange("p", f"{word} {i}", word) for i in range(5) for word in ("food", "snail")]
    learned += [exchange("p", "why", "food", opening=False)] * 50
    character = Character(learned)
    assert character.scores(["food 9", "snail 9"], ["food", "food"])["in_topic"] == 0.5
    assert character.classifier.guess(["why"]) == ["food"], "a tie: the first"
    assert not learnable(["one"] * 9) and not learnable(list(map(str, range(1000)))) and learnable(["a", "b"])
