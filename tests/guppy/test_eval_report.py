import json
import math

import pytest
import torch
from networks import tiny
from ponds import COLOURS, THINGS, make_corpus

from guppy.corpus import Corpus
from guppy.eval_report import HELDOUT, Examiner, Sampling, flat
from guppy.evaluate import heldout_batches, heldout_loss, prompt_losses
from guppy.generate import generate
from guppy.model import Guppy

CHARACTER = {"lowercase", "reply_words", "sentence_words", "vocabulary", "obsession", "in_topic", "repeated"}
CHARACTER |= {"distinct_1", "distinct_2", "distinct_3", "exact", "near", "composed", "new", "memorised", "strange"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "rows.jsonl"
    rows = [
        {
            "input": f"is it {thing} {colour}, {i}?",
            "output": f"yes, the {colour} {thing} of {i}. i see flakes.",
            "category": thing,
        }
        for i in range(120)
        for thing in THINGS[:4]
        for colour in COLOURS[:2]
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return Corpus.from_path(path)


@pytest.fixture(scope="module")
def model(corpus):
    return tiny(vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=32)


@pytest.fixture(scope="module")
def examiner(corpus):
    return Examiner(corpus, sampling=Sampling(temperature=0.9, seed=5, max_tokens=8))


@pytest.fixture(scope="module")
def measured(examiner, model):
    return examiner.measure(model)


def test_replies_are_generates(measured, model, corpus):
    asked = [reply for reply in measured["replies"] if reply["group"] == HELDOUT]
    assert len({reply["prompt"] for reply in asked}) == len(asked) == len(corpus.heldout) > 10
    for reply in [asked[0], measured["replies"][-1]]:
        ids = corpus.tokenizer.encode_chat(reply["prompt"])
        (said,) = generate(model, corpus.tokenizer, [ids], temperature=0.9, seed=5, max_tokens=8)
        assert (reply["reply"], reply["finished"]) == (said.text, said.stopped)
    assert measured["sampling"] == {"temperature": 0.9, "seed": 5, "max_tokens": 8}


def test_scores_have_ceiling_and_floor(measured, examiner, model):
    assert measured["scores"].keys() == CHARACTER
    train, heldout, untrained = examiner.references(model.config, model.surgery)
    assert [each.pop("of") for each in (train, heldout, untrained)] == ["train", "heldout", "untrained"]
    assert train.keys() == heldout.keys() == untrained.keys() == CHARACTER
    assert train["exact"] == train["vocabulary"] == train["in_topic"] == heldout["in_topic"] == 1
    assert heldout["exact"] == 0 and heldout["lowercase"] == heldout["obsession"] == 1
    assert untrained["new"] == 1 and untrained["vocabulary"] < 0.9 and untrained["obsession"] < 0.5
    assert measured["scores"]["new"] == 1 and "flakes" in measured["theme"]


def test_surprise_is_the_loss_of_the_prompt_alone(measured, model, corpus):
    tokenizer, prompt = corpus.tokenizer, "is it glass, 99?"
    ids = [tokenizer.im_start_id, *tokenizer.encode(f"user\n{prompt}"), tokenizer.im_end_id]
    header = 1 + len(tokenizer.encode("user\n"))
    p = model(torch.tensor([ids[:-1]]))[0].softmax(-1).tolist()
    expected = -sum(math.log(p[i - 1][ids[i]]) for i in range(header, len(ids)))
    (nats, _), (tokens, _) = prompt_losses(
        model, tokenizer, [prompt, "a much longer one, that stands in the same batch"]
    )
    assert nats == pytest.approx(expected, rel=1e-4) and tokens == len(ids) - header
    (far,) = (row for row in measured["surprise"] if row["group"] == "far outside")
    prompts = [reply["prompt"] for reply in measured["replies"] if reply["group"] == "far outside"]
    nats, tokens = prompt_losses(model, tokenizer, prompts)
    assert far["bits_per_token"] == pytest.approx(nats.sum() / math.log(2) / tokens.sum())
    assert far["prompts"] == len(prompts) and not far["inside"] and len(measured["surprise"]) == 13
    assert prompt_losses(model, tokenizer, ["long " * 100])[1][0] == 32 - header + 1


def test_a_row_of_the_table_is_flat(measured):
    row = flat(64, measured)
    assert row["step"] == 64 and row["loss_heldout"] == measured["heldout_loss"] and row.keys() >= CHARACTER
    bits = {each["group"]: each["bits_per_token"] for each in measured["surprise"]}
    assert row["bits_outside"] == pytest.approx((bits["human things"] + bits["far outside"]) / 2)
    assert row["bits_heldout"] == bits[HELDOUT] and row["bits_small_talk"] == bits["small talk"]
    assert all(value is None or isinstance(value, int | float) for value in row.values())


def test_a_third_split_is_scored_too(corpus, model):
    assert [set(topic) for topic in Examiner(corpus).measure(model)["topics"]] == [
        {"topic", "rows", "train", "heldout"}
    ] * 4
    try:
        corpus.composed = corpus.heldout
        told = Examiner(corpus, rows=5).measure(model)
    finally:
        del corpus.composed
    assert told["splits"].keys() == {"train", "heldout", "composed"}
    assert told["splits"]["composed"] == told["splits"]["heldout"] and told["rows"] == 5
    assert flat(0, told)["loss_composed"] == told["heldout_loss"]


def test_losses_of_topics_make_the_loss_of_the_split(measured, model, corpus):
    batches = heldout_batches(corpus.heldout, 64, 32, corpus.tokenizer.pad_id)
    assert measured["splits"]["heldout"]["loss"] == pytest.approx(heldout_loss(model, batches), rel=1e-6)
    assert sum(row["rows"] for row in measured["topics"]) == len(corpus.heldout)
    told = max(measured["topics"], key=lambda row: row["rows"])
    chosen = [i for i, category in enumerate(corpus.heldout.categories) if category == told["topic"]]
    nats = tokens = 0.0
    for i in chosen:
        ids = corpus.heldout.row(i).tolist()
        p = model(torch.tensor([ids[:-1]]))[0].softmax(-1).tolist()
        nats -= sum(math.log(p[j][token]) for j, token in enumerate(ids[1:]))
        tokens += len(ids) - 1
    assert told["heldout"] == pytest.approx(nats / tokens, rel=1e-4) and told["rows"] == len(chosen) > 1


def test_plain_text_has_losses_only(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(f"the water is warm on day {i}" for i in range(200)))
    corpus = Corpus.from_path(tmp_path / "text.txt", "char")
    model = tiny(vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=32)
    examiner = Examiner(corpus)
    told = examiner.measure(model)
    assert told["splits"].keys() == {"train", "heldout"} and "scores" not in told
    assert examiner.references(model.config, model.surgery) == []
    assert flat(1, told).keys() == {"step", "loss_train", "loss_heldout", "masked_loss", "future_mass"}


def test_one_topic_has_no_classifier(tmp_path):
    corpus = make_corpus(tmp_path)
    examiner = Examiner(corpus, sampling=Sampling(max_tokens=4))
    told = examiner.measure(Guppy(tiny(vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=24).config))
    assert told["scores"]["in_topic"] is None and flat(0, told)["in_topic"] is None
