import random

import pytest

from guppy.novelty import Novelty, shares
from guppy.splits import text_key

TRAINED = [
    "the snail is slow. i like flakes in the morning.",
    "the snail is asleep under the big leaf tonight, and i wait here.",
    "blub.",
    "i like flakes and the light. hello there.",
]


@pytest.fixture(scope="module")
def novelty():
    return Novelty(TRAINED)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("The snail is SLOW! i like flakes, in the morning", "exact"),
        ("blub", "exact"),
        ("the snail is asleep under the big leaf tonight, and i wait", "near"),
        ("so the snail is asleep under the big leaf tonight, and i wait here.", "near"),
        ("hello there. blub. the snail is slow.", "composed"),
        ("i like flakes and the light. the snail is asleep under the big leaf tonight, and i wait here.", "composed"),
        ("i like flakes in the light.", "new"),
        ("the snail is.", "near"),
        ("the fish is.", "new"),
        ("there hello.", "new"),
        ("", "new"),
        ("...", "new"),
        ("\ud83d\ufffd 魚は", "new"),
    ],
)
def test_each_kind(novelty, reply, kind):
    (verdict,) = novelty.judge([reply])
    assert verdict.kind == kind


def test_the_nearest_reply_and_its_share_are_those_of_a_plain_count(novelty):
    source = random.Random(0)
    pool = [word for reply in TRAINED for word in reply.split()]
    replies = [" ".join(source.choices(pool, k=source.randint(1, 12))) for _ in range(60)] + ["snail"]

    def grams(text):
        raw = text_key(text).encode().ljust(8, b"\0")
        return {raw[i : i + 8] for i in range(len(raw) - 7)}

    for reply, verdict in zip(replies, novelty.judge(replies), strict=True):
        shared = [len(grams(reply) & grams(trained)) / len(grams(reply)) for trained in TRAINED]
        assert verdict.containment == pytest.approx(max(shared))
        if max(shared):
            assert verdict.nearest == text_key(TRAINED[shared.index(max(shared))])


def test_shares_count_replies_and_sentences(novelty):
    verdicts = novelty.judge(["blub.", "hello there. blub.", "hello there. the fish is slow.", "not known at all"])
    told = shares(verdicts)
    assert told == {"exact": 0.25, "near": 0, "composed": 0.25, "new": 0.5, "memorised": 0.25, "strange": 2 / 6}
    assert shares([]) == dict.fromkeys(told, 0)


def test_nothing_learned_makes_everything_new():
    assert [verdict.kind for verdict in Novelty([]).judge(["blub.", ""])] == ["new", "new"]
    assert Novelty(["x"]).judge([]) == []
