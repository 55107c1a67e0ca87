"""Does it sound like the character? Scores of replies that need no other model to judge.

    lowercase        share of replies without a capital letter
    reply_words, sentence_words   mean length of a reply and of a sentence
    vocabulary       share of words that occur in training replies
    obsession        share of replies that mention one of the persona's theme words
    in_topic         share of replies that a small classifier takes for the topic that was asked about
    distinct_1 … 3   different words, pairs and triples of words over all there are (Li et al. 2016)
    repeated         share of replies that say what an earlier one said

None of them is good when high: a model has the character when its scores are those of its training data. Diversity
falls with the number of replies, so compare it only between equally many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from guppy.replies import Exchange, sentences, words
from guppy.splits import text_key
from guppy.topics import TopicClassifier, learnable

THEME_WORDS = 20
# How much the prior counts when they are chosen, in words.
PRIOR_WORDS = 1000
# English words that are about nothing; a theme is chosen from the others.
FUNCTION_WORDS = frozenset(
    words(
        """
    a about above after again all almost also always am an and another any anybody anyone anything are around as at
    away back be because been before behind being below best better between both but by can cannot could did do does
    doing done down each else enough even ever every everyone everything far few first for from get go goes going gone
    good got had has have he her here him his how however i if in into is it its itself just know last less like
    little long look made make many may maybe me mine more most mostly much must my myself near never new next nice no
    nobody nor not nothing now of off oh ok okay on once one only or other otherwise our out over own part please
    quite rather really said same say says see she should side since so some somebody something sometimes soon still
    such take tell than thank thanks that the their them then there these they thing things think this those though
    three through till to today together too two under until up upon us very want was way we well went were what when
    where which while who whole why will with without would yes yet you your
    """
    )
)


class Character:
    """What a character is like, learned from the training exchanges of its corpus.

    Attributes:
        theme: the words whose mention counts as its obsession.
        classifier: tells topics apart; None where there is one topic, or too many.
    """

    def __init__(self, exchanges: Sequence[Exchange], obsession: Sequence[str] = ()) -> None:
        """
        Args:
            obsession: the persona's own theme words; without them, those that set its replies apart from prompts.
        """
        replies = Counter(word for exchange in exchanges for word in words(exchange.reply))
        self._vocabulary = frozenset(replies)
        self.theme = tuple(obsession) or theme_words(replies, _count(exchange.prompt for exchange in exchanges))
        alternatives = "|".join(re.escape(word.casefold()) for word in self.theme)
        self._mentions = re.compile(rf"(?<!\w)(?:{alternatives})s?(?!\w)") if alternatives else None
        openings = [exchange for exchange in exchanges if exchange.opening]
        topics = [exchange.topic for exchange in openings]
        self.classifier: TopicClassifier | None = None
        if learnable(topics):
            self.classifier = TopicClassifier([exchange.reply for exchange in openings], topics)

    def scores(self, replies: Sequence[str], topics: Sequence[str] | None = None) -> dict[str, float | None]:
        """Score replies. `in_topic` is None without a classifier, or without `topics` to hold it to."""
        said = [words(reply) for reply in replies]
        count, total = max(1, len(said)), max(1, sum(map(len, said)))
        spoken = [reply for reply in replies if any(map(str.isalpha, reply))]
        parts = sum(len(sentences(reply)) for reply in replies)
        judged = self.classifier is not None and topics is not None
        return {
            "lowercase": sum(not any(map(str.isupper, reply)) for reply in spoken) / max(1, len(spoken)),
            "reply_words": sum(map(len, said)) / count,
            "sentence_words": sum(map(len, said)) / max(1, parts),
            "vocabulary": sum(word in self._vocabulary for each in said for word in each) / total,
            "obsession": sum(map(self.mentions, replies)) / count,
            "in_topic": self.classifier.accuracy(replies, topics) if judged else None,
            **{f"distinct_{n}": _distinct(said, n) for n in (1, 2, 3)},
            "repeated": 1 - len(set(map(text_key, replies))) / count if replies else 0.0,
        }

    def mentions(self, reply: str) -> bool:
        """Whether a reply mentions the theme; a final s does not count."""
        return self._mentions is not None and self._mentions.search(reply.casefold()) is not None


def theme_words(replies: Counter[str], prompts: Counter[str]) -> tuple[str, ...]:
    """The words that are most the replies' own: the largest log-odds of replies against prompts over its deviation,
    with both together as the prior (Monroe, Colaresi & Quinn 2008, section 3.5.1)."""
    candidates = [word for word in replies if len(word) > 2 and word not in FUNCTION_WORDS]
    said, asked = (np.array([counts[word] for word in candidates], dtype=float) for counts in (replies, prompts))
    prior = PRIOR_WORDS * (said + asked) / max(1, replies.total() + prompts.total())
    said, asked = said + prior, asked + prior
    odds = np.log(said / (replies.total() + PRIOR_WORDS - said))
    odds -= np.log(asked / (prompts.total() + PRIOR_WORDS - asked))
    z = odds / np.sqrt(1 / said + 1 / asked)
    best = np.argsort(-z, kind="stable")[:THEME_WORDS]
    return tuple(candidates[i] for i in best if z[i] > 0)


def _count(texts: Iterable[str]) -> Counter[str]:
    return Counter(word for text in texts for word in words(text))


def _distinct(said: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(each[i : i + n]) for each in said for i in range(len(each) - n + 1)]
    return len(set(grams)) / max(1, len(grams))
