"""The tuned lens: what it learns, what it is worth, and how it is kept beside a run."""

import pytest
import torch
import torch.nn.functional as F
from networks import some_ids, tiny
from ponds import make_corpus, make_run

from guppy.errors import GuppyError
from guppy.inspect import tuned_lens as module
from guppy.inspect.asking import Subject
from guppy.inspect.lens import logit_lens
from guppy.inspect.tuned_lens import TunedLens, find, make, points_of, train_tuned_lens, trained, tuned_lens
from guppy.runs import files, train_run
from guppy.surgery import Surgery


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pond")
    return train_run(make_run(folder / "pond", make_corpus(folder), steps=60, lr=1e-2))


def identity(model):
    n, d = model.config.n_layers, model.config.d_model
    return TunedLens(points_of(model)[:-1], torch.eye(d).repeat(n, 1, 1), torch.zeros(n, d), [0.0], [0.0], 0, 0)


def test_translators_that_do_nothing_are_the_logit_lens():
    model = tiny(n_layers=3)
    ids = some_ids(model, batch=1)[0]
    found, plain = tuned_lens(model, ids, identity(model), k=5), logit_lens(model, ids, k=5)
    at = [plain.points.index(point) for point in found.points]
    assert found.points == points_of(model) and len(at) == 4
    torch.testing.assert_close(found.top_probs, plain.top_probs[at])
    torch.testing.assert_close(found.kl, plain.kl[at], rtol=1e-4, atol=1e-5)


def test_it_lowers_the_divergence_at_every_point(run):
    model, corpus = run.model(), make_corpus(run.path.parent)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told = []
    found = train_tuned_lens(model, corpus, steps=40, progress=lambda done, of: told.append((done, of)))
    assert told == [(i, 40) for i in range(41)]
    assert all(after < 0.7 * plain for after, plain in zip(found.kl_after, found.kl_before, strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    # What is told of the held-out text is what a text of it shows.
    ids = torch.from_numpy(corpus.heldout.row(0)[:20].astype("int64"))
    plain, tuned = logit_lens(model, ids), tuned_lens(model, ids, found)
    assert tuned.kl[:-1].mean() < plain.kl[[plain.points.index(point) for point in found.points]].mean()
    assert torch.equal(tuned.final_ids, plain.final_ids) and (tuned.kl[-1].abs() < 1e-6).all()


def test_the_same_seed_learns_the_same(run):
    corpus, model = make_corpus(run.path.parent), run.model()
    one, two = (train_tuned_lens(model, corpus, steps=3, seed=1) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, train_tuned_lens(model, corpus, steps=3, seed=2).weight)


def test_the_divergence_and_where_it_begins_by_definition():
    model = tiny(n_layers=2)
    generator = torch.Generator().manual_seed(0)
    streams = torch.randn(3, 500, 16, generator=generator)
    truth, offset = torch.randn(2, 16, 16, generator=generator), torch.randn(2, 16, generator=generator)
    streams[2] = streams[0] @ truth[0].T + offset[0]
    weight, bias = module._regression(model, streams)
    torch.testing.assert_close(weight[0], truth[0], rtol=0.02, atol=0.02)
    torch.testing.assert_close(bias[0], offset[0], rtol=0.02, atol=0.02)
    assert (weight[1] - truth[1]).abs().max() > 0.5  # the second stream knows nothing of the last
    found = module._divergence(model, streams, truth, offset)
    with torch.no_grad():
        final, here = (
            torch.distributions.Categorical(logits=F.linear(model.ln_final(x), model.embed.weight))
            for x in (streams[2], streams[1] @ truth[1].T + offset[1])
        )
    torch.testing.assert_close(found[1], torch.distributions.kl_divergence(final, here).mean(), rtol=1e-4, atol=1e-5)
    assert found[0].abs() < 1e-4


@pytest.mark.parametrize("surgery", [Surgery(layernorm=False), Surgery(residual=False), Surgery(positions=False)])
def test_a_model_under_surgery_has_one_too(tmp_path, surgery):
    corpus = make_corpus(tmp_path)
    model = tiny(surgery, vocab_size=corpus.tokenizer.padded_vocab_size)
    found = train_tuned_lens(model, corpus, steps=10)
    assert all(after < plain for after, plain in zip(found.kl_after, found.kl_before, strict=True))


def test_it_is_kept_beside_the_run_for_just_these_weights(run):
    step = run.steps[-1]
    subject = Subject(run.model(), run.tokenizer, torch.tensor([1, 2, 3]), ["a", "b", "c"], run, step)
    assert find(run, step) is None
    with pytest.raises(GuppyError, match="not trained"):
        module.QUESTIONS[0].ask(subject)
    made = make(run, step, steps=3)
    found = find(run, step)
    assert torch.equal(found.weight, made.weight) and torch.equal(found.bias, made.bias)
    assert (found.points, found.kl_before, found.kl_after) == (made.points, made.kl_before, made.kl_after)
    asked = module.QUESTIONS[0].ask(subject, k=2)
    assert asked.kl_after == made.kl_after and asked.top_ids.shape == (3, 3, 2) and asked.words
    assert find(run, run.steps[-2]) is None
    assert list(trained(run)) == [step] and trained(run)[step]["kl_after"] == made.kl_after
    about = run.path / module.FOLDER / f"{step:06d}.json"
    told = files.read_json(about, "")
    for change in ({"version": 0}, {"weights": "another"}):
        files.write_json(about, told | change)
        assert find(run, step) is None and not trained(run)
    files.write_json(about, told)
    about.with_suffix(".safetensors").write_bytes(b"broken")
    with pytest.raises(GuppyError, match="train the lens again"):
        find(run, step)
