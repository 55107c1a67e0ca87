"""What is asked of a whole run: its path, its batches, its twin, a lesson, the price of context."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from ponds import make_corpus, make_run

from guppy.errors import GuppyError
from guppy.evaluate import batch_loss, heldout_loss
from guppy.hooks import record
from guppy.inspect import questions
from guppy.inspect.eaten import batch_at, meal
from guppy.inspect.lesson import lesson
from guppy.inspect.similarity import similarity
from guppy.inspect.surprise import surprise
from guppy.inspect.twins import twins
from guppy.inspect.weight_path import _axes, _gram, loss_slice, weight_path
from guppy.inspect.window import context_price, position_loss
from guppy.runs import fork, open_run, train_run
from guppy.surgery import Surgery


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(root):
    corpus = make_corpus(root)
    return train_run(make_run(root / "pond", corpus, steps=6, checkpoints=100, keep_trainer="all", model={"n_ctx": 48}))


@pytest.fixture
def ids(run):
    return torch.tensor(run.encode_prompt("is the snail red, 1?"))[:20]


# -- the path ------------------------------------------------------------------------------------


def flat(run):
    return torch.stack([torch.cat([w.flatten() for w in run.weights(step).values()]) for step in run.steps]).double()


def test_the_path_is_the_principal_components_of_the_checkpoints(run):
    told, weights = weight_path(run), flat(run)
    centred = weights - weights.mean(0)
    u, s, _ = np.linalg.svd(centred.numpy(), full_matrices=False)
    assert np.allclose(told.xy.abs().numpy(), np.abs(u[:, :2] * s[:2]), atol=1e-3)
    assert np.allclose(told.explained.numpy(), s[:2] ** 2 / (s**2).sum(), atol=1e-4)
    assert torch.allclose(told.distance.double(), torch.cdist(weights, weights), atol=2e-2)
    assert torch.allclose(
        told.cosine.double(), torch.nn.functional.cosine_similarity(weights[:, None], weights, dim=-1)
    )
    assert told.xy[-1, 0] > told.xy[0, 0] and told.steps == run.steps


def test_a_point_of_the_slice_is_a_mixture_that_gives_back_the_checkpoints(run):
    """Three checkpoints lie in a plane, so the mixture at each one's place is that checkpoint alone."""
    xy, _, mixes = _axes(_gram(run, run.steps[:3]))
    shares = 1 / 3 + xy @ mixes.T
    assert torch.allclose(shares, torch.eye(3, dtype=shares.dtype), atol=1e-4)


def test_the_slice_is_lowest_where_the_run_ended(run):
    told = loss_slice(run, points=5, rows=16)
    assert told.loss.shape == (5, 5) and told.loss.isfinite().all() and told.rows == 16
    end = weight_path(run).xy[-1]
    near = told.loss[(told.y - end[1]).abs().argmin(), (told.x - end[0]).abs().argmin()]
    far = told.loss[(told.y - end[1]).abs().argmin(), 0]
    assert near < far
    with pytest.raises(GuppyError, match="3 to 41"):
        loss_slice(run, points=2)


def test_similarity_is_linear_cka(run, ids):
    told = similarity(run, ids)
    streams = []
    for step in run.steps:
        model = run.model(step)
        with torch.no_grad(), record(model, "blocks.1.hook_resid_post") as tape:
            model(ids[None])
        streams.append(tape["blocks.1.hook_resid_post"][0].double())
    x, y = (s - s.mean(0) for s in (streams[0], streams[-1]))
    expected = (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert told.cka[1, 0, -1] == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(told.cka.diagonal(dim1=1, dim2=2), torch.ones(2, len(run.steps)))


# -- batches -------------------------------------------------------------------------------------


def test_a_batch_is_the_one_that_the_step_learned_from(run):
    losses = run.metrics.query("kind == 'step'").set_index("step")["loss"]
    for made in (1, 4, 6):
        batch = batch_at(run, made)
        with torch.no_grad():
            loss = batch_loss(run.model(made - 1), batch) / batch.n_tokens
        assert loss.item() == pytest.approx(losses[made], rel=1e-4)


def test_a_meal_says_what_each_token_cost(run):
    told = meal(run, 3)
    assert (told.made, told.before_step, told.after_step) == (3, 2, 3)
    batch = batch_at(run, 3)
    assert told.before.nansum().item() == pytest.approx(batch_loss(run.model(2), batch).item(), rel=1e-4)
    assert told.after.nansum().item() == pytest.approx(batch_loss(run.model(3), batch).item(), rel=1e-4)
    assert told.after.nansum() < told.before.nansum()
    for row, tokens in zip(told.ids, told.tokens, strict=True):
        assert run.tokenizer.token_strings(row[row >= 0].tolist()) == tokens
        assert torch.equal(
            told.before[told.ids == -1].isnan(), torch.ones(int((told.ids == -1).sum()), dtype=torch.bool)
        )
    with pytest.raises(GuppyError, match="steps 1 to 6, not in step 7"):
        meal(run, 7)


def test_a_forks_batches_go_on_where_its_parent_was(run, root):
    child = train_run(fork(run, 3, out=root / "same"))
    one, two = batch_at(run, 5), batch_at(child, 5)
    assert torch.equal(one.ids, two.ids)


def test_a_run_whose_batches_came_in_another_order_is_not_retraced(run, root):
    """As the runs are that were trained before the sampler was changed: their token counts tell."""
    shutil.copytree(run.path, root / "reordered")
    metrics = root / "reordered" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    for row in rows:
        if row["kind"] == "step" and row["step"] == 2:
            row["tokens"] += 1
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(GuppyError, match="in another order"):
        batch_at(open_run(root / "reordered"), 3)


def test_what_was_held_out_and_learned_is_only_told_of_the_same_data(run, root):
    shutil.copytree(run.path, root / "changed")
    manifest = root / "changed" / "run.json"
    told = json.loads(manifest.read_text())
    told["corpus"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(told))
    changed = open_run(root / "changed")
    with pytest.raises(GuppyError, match="have changed"):
        batch_at(changed, 3)
    with pytest.raises(GuppyError, match="have changed"):
        position_loss(run.model(6), changed)


# -- twins ---------------------------------------------------------------------------------------


def test_a_twin_without_a_difference_never_parts(run, root):
    child = train_run(fork(run, 2, out=root / "twin"))
    told = twins(run, child)
    assert told.steps == [2, 3, 4, 5, 6] and told.distance.abs().max() == 0 and not told.differences
    assert (told.weights_part, told.losses_part, told.samples_part) == (None, None, None)


def test_twins_part_at_the_step_after_the_surgery(run, root):
    child = train_run(fork(run, 2, out=root / "cut", surgery=Surgery(mlp_off=(1,))))
    told = twins(run, child)
    assert told.differences == ["surgery.mlp_off: [], [1]"]
    assert told.weights_part == 3 and told.losses_part == 3
    assert told.distance[0].max() == 0 and told.distance[1].max() > 0


def test_runs_without_a_common_step_are_no_twins(run, root):
    later = train_run(fork(run, 6, out=root / "later", steps=3, checkpoints=2))
    early = train_run(make_run(root / "early", make_corpus(root), steps=2))
    with pytest.raises(GuppyError, match="no checkpoint at the same step"):
        twins(later, early)


# -- a lesson ------------------------------------------------------------------------------------


def test_a_lesson_makes_its_text_likelier_and_leaves_the_run_alone(run):
    before = {name: value.clone() for name, value in run.weights(6).items()}
    ids = torch.tensor(run.encode_prompt("hi") + run.tokenizer.encode("zzz"))[: run.model_config.n_ctx]
    one, ten = (lesson(run, 6, ids, ["hello"], steps=steps, share=1.0) for steps in (1, 10))
    assert one.moments and one.loss_before == pytest.approx(ten.loss_before)
    assert ten.loss_after < one.loss_after < one.loss_before
    assert torch.equal(one.before.nan_to_num(), surprise(run.model(6), ids).probability.nan_to_num())
    bits = surprise(run.model(6), ids).bits[1:]
    assert one.loss_before == pytest.approx(bits.mean().item() * math.log(2), rel=1e-4)
    assert (ten.update > one.update).float().mean() > 0.9 and (one.kl > 0).all() and len(one.replies_after) == 1
    assert all(torch.equal(before[name], value) for name, value in run.weights(6).items())


def test_a_lesson_is_asked_with_what_to_say(run):
    told = questions.ask(run, "lesson", prompt="hi", step=6, reply="blue", updates=2)
    assert told.ids[-1] == run.tokenizer.im_end_id and run.tokenizer.decode(told.ids[-5:-1]) == "blue"
    assert told.probes == list(dict.fromkeys(run.samples.prompt))
    with pytest.raises(GuppyError, match="Say what the reply should be"):
        questions.ask(run, "lesson", prompt="hi", step=6)
    with pytest.raises(GuppyError, match="1 to 10 steps"):
        questions.ask(run, "lesson", prompt="hi", step=6, reply="x", updates=11)


# -- context -------------------------------------------------------------------------------------


def test_context_price_reads_anew_for_every_token(run, ids):
    model = run.model(6)
    told = context_price(model, ids, [1, 3, len(ids)])
    whole = surprise(model, ids).bits * math.log(2)
    assert torch.allclose(told.nats[2, 1:], whole[1:], atol=1e-4) and told.nats[:, 0].isnan().all()
    for end in (1, 2, 5, len(ids) - 1):
        seen = ids[max(0, end - 3) : end]
        with torch.no_grad():
            logp = model(seen[None])[0, -1].log_softmax(-1)
        assert told.nats[1, end].item() == pytest.approx(-logp[ids[end]].item(), abs=1e-4)


def test_position_loss_adds_up_to_the_heldout_loss(run):
    from guppy.batches import heldout_batches
    from guppy.evaluate import HELDOUT_BATCH
    from guppy.runs import corpus_of

    model, corpus = run.model(6), corpus_of(run)
    told = position_loss(model, run, rows=20)
    batches = heldout_batches(corpus.heldout, HELDOUT_BATCH, model.config.n_ctx, corpus.tokenizer.pad_id, 20)
    total = (told.loss.nan_to_num() * told.tokens).sum() / told.tokens.sum()
    assert total.item() == pytest.approx(heldout_loss(model, batches), rel=1e-4)
    assert told.loss.shape == (model.config.n_ctx,)
