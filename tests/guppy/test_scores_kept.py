"""Scores of checkpoints are measured once, kept with the run, and never mixed with what was measured otherwise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from networks import tiny
from ponds import write_pairs

from guppy import scores as scores_module
from guppy.config import TrainConfig
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.eval_report import PROMPTS, Examiner, Sampling, flat
from guppy.prompt_pack import load_pack
from guppy.runs import Run, bundle, create_run, files, open_run
from guppy.runs.scores import Scores, drop_scores, keep_row, read_scores, write_scores
from guppy.runs.write import write_checkpoint
from guppy.scores import ROWS, scores_over

STEPS = [0, 2, 4]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus.from_path(write_pairs(tmp_path_factory.mktemp("corpus") / "pairs.jsonl", 400))


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of random weights at three steps, in a folder of runs of its own."""
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    shape = {"vocab_size": corpus.tokenizer.padded_vocab_size, "n_ctx": 48}
    run = create_run(tmp_path / "pond", model=tiny(**shape).config, train=TrainConfig(steps=4), corpus=corpus)
    for seed, step in enumerate(STEPS):
        write_checkpoint(run.path, step, tiny(None, seed, **shape).state_dict(), None)
    return run


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A place for each measurement that is really made."""
    made: list[int] = []

    class Counting(Examiner):
        def measure(self, model):
            made.append(1)
            return super().measure(model)

    monkeypatch.setattr(scores_module, "Examiner", Counting)
    return made


def test_a_second_call_measures_only_what_is_missing(run: Run, corpus: Corpus, measured: list[int]) -> None:
    assert run.scores.empty and list(run.scores) == ["step"]
    scores_over(run, [0, 4])
    assert len(measured) == 2 and run.scores.step.tolist() == [0, 4]
    again = scores_over(run, STEPS)
    assert len(measured) == 3 and list(again.rows) == STEPS
    frame = run.scores.set_index("step")
    expected = flat(2, Examiner(corpus, ROWS).measure(run.model(2)))
    assert {"step": 2} | frame.loc[2].where(frame.loc[2].notna(), None).to_dict() == expected
    assert [row["of"] for row in again.references] == ["train", "heldout", "untrained"] and again.theme


def test_all_there_needs_no_data(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scores_over(run, STEPS)
    monkeypatch.setattr(scores_module, "corpus_of", lambda _: pytest.fail("the data were read"))
    assert scores_over(run, STEPS) == first
    assert list(scores_over(run, [4]).rows) == [4]


def test_the_transcript_of_the_pack_is_in_the_samples(run: Run) -> None:
    scores_over(run, [0, 4])
    prompts = [(group.name, prompt) for group in load_pack() for prompt in group.prompts]
    for step in (0, 4):
        rows = run.samples[run.samples.step == step]
        assert list(zip(rows.group, rows.prompt, strict=True)) == prompts
        assert set(rows.kind) <= {"exact", "near", "composed", "new"} and rows.text.str.len().max() > 0
    scores_over(run, [0, 4])
    assert len(run.samples) == 2 * len(prompts), "what is kept is not measured again"


def test_other_ways_of_measuring_are_not_kept(run: Run) -> None:
    scores_over(run, [0], rows=5)
    scores_over(run, [0], sampling=Sampling(seed=1))
    assert not (run.path / files.SCORES).exists()


def test_scores_by_other_data_are_measured_anew(run: Run, measured: list[int]) -> None:
    scores_over(run, [0, 4])
    kept = read_scores(run.path)
    write_scores(run.path, Scores(kept.how | {"corpus": "another"}, kept.references, kept.theme, kept.rows))
    scores_over(run, [4])
    assert len(measured) == 3 and run.scores.step.tolist() == [4]


def test_another_obsession_is_measured_anew(run: Run, measured: list[int]) -> None:
    scores_over(run, [0, 4])
    kept = read_scores(run.path)
    write_scores(run.path, Scores(kept.how, kept.references, ["sand"], kept.rows))
    assert scores_over(run, [0, 2]).theme == kept.theme
    assert len(measured) == 4 and run.scores.step.tolist() == [0, 2]


def test_a_folder_that_cannot_be_written_costs_only_the_keeping(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(scores_module, "keep_row", refuse)
    assert list(scores_over(run, [0, 2]).rows) == [0, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{run.path} cannot be written (Read-only file system), so these scores are not kept."
    ]


def test_two_who_measure_at_once_lose_nothing(tmp_path: Path) -> None:
    how = {"corpus": "a"}
    keep_row(tmp_path, Scores(how, rows={1: {"strange": 0.5}}), 1)
    keep_row(tmp_path, Scores(how, rows={2: {"strange": 0.25}}), 2)
    assert read_scores(tmp_path).rows == {1: {"strange": 0.5}, 2: {"strange": 0.25}}
    keep_row(tmp_path, Scores({"corpus": "b"}, rows={3: {"strange": math.nan}}), 3)
    assert read_scores(tmp_path).rows == {3: {"strange": None}}


def test_training_that_goes_on_forgets_the_steps_it_drops(tmp_path: Path) -> None:
    drop_scores(tmp_path, 1)
    write_scores(tmp_path, Scores({"corpus": "a"}, rows={0: {}, 4: {}, 8: {}}))
    drop_scores(tmp_path, 4)
    assert list(read_scores(tmp_path).rows) == [0, 4]
    (tmp_path / files.SCORES).write_text("{")
    drop_scores(tmp_path, 4)
    assert not (tmp_path / files.SCORES).exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1", "cannot be read"),
        ("[]", "not a JSON object"),
        ('{"format": 9}', "is of format 9"),
        ('{"format": 1}', "is damaged"),
        ('{"format": 1, "how": {}, "references": [], "theme": [], "table": [{"step": "one"}]}', "is damaged"),
        ('{"format": 1, "how": {}, "references": [], "theme": [], "table": [{"step": 1, "x": "<b>"}]}', "is damaged"),
        ('{"format": 1, "how": [], "references": [], "theme": [], "table": []}', "is damaged"),
    ],
)
def test_damaged_scores_are_one_sentence_and_written_anew(run: Run, text: str, says: str) -> None:
    (run.path / files.SCORES).write_text(text)
    with pytest.raises(GuppyError, match=f"{says}.*delete it"):
        read_scores(run.path)
    keep_row(run.path, Scores({"corpus": "a"}, rows={1: {"strange": 0.5}}), 1)
    assert read_scores(run.path).rows == {1: {"strange": 0.5}}


def test_a_bundle_takes_its_scores_along(run: Run, tmp_path: Path) -> None:
    write_scores(run.path, Scores({"corpus": "a"}, rows={0: {"strange": 0.5}, 4: {"strange": 0.25}}))
    light = open_run(bundle(run, tmp_path / "light", steps=[4]))
    assert light.scores.equals(run.scores) and light.scores.strange.tolist() == [0.5, 0.25]


def test_the_file_says_how_it_was_measured(run: Run) -> None:
    scores_over(run, [4])
    told = json.loads((run.path / files.SCORES).read_text())
    assert told["format"] == 1 and told["how"]["corpus"] == run.manifest["corpus"]["sha256"]
    assert (told["how"]["rows"], told["how"]["prompts"], told["how"]["temperature"]) == (ROWS, PROMPTS, 0.7)
