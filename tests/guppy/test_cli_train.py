import json
import os
import re
import signal
import sys
import threading
import time

import pytest
import torch
from ponds import same, write_pairs

from guppy.cli import main
from guppy.cli_train import _command
from guppy.runs import files, list_runs, open_run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_pairs(root / "pairs.jsonl")
    return root


@pytest.fixture
def call(root, monkeypatch, capsys):
    """Run a command line; returns the exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["guppy", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        out = capsys.readouterr()
        return exit.value.code or 0, out.out, out.err

    before = torch.get_num_threads()
    monkeypatch.chdir(root)
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(root))
    yield call
    torch.set_num_threads(before)


SMALL = ("--data", "pairs.jsonl", "--tokenizer", "char", "--context", 16, "--batch", 4, "--heldout", 4, "--threads", 1)


@pytest.fixture(scope="module")
def first(root):
    """A run that the command line trained; tests only read it."""
    patch = pytest.MonkeyPatch()
    with patch.context() as context, pytest.raises(SystemExit) as exit:
        context.chdir(root)
        context.setenv("GUPPY_CHECKPOINTS", str(root))
        context.setattr(
            sys, "argv", ["guppy", "train", *map(str, SMALL), "--steps", "4", "--out", "first", "--seed", "3"]
        )
        main()
    assert not exit.value.code
    return open_run(root / "first")


def test_train_makes_the_run_that_was_asked_for(first):
    assert first.status == "finished" and first.last_step == 4 and first.steps[0] == 0
    assert first.model_config.n_ctx == 16 and first.model_config.n_layers == 4 and first.model_config.d_model == 128
    config = first.train_config
    assert (config.steps, config.batch_size, config.heldout_rows, config.seed) == (4, 4, 4, 3)
    assert first.manifest["notes"].startswith("python -m guppy train --data pairs.jsonl")
    assert first.manifest["corpus"]["kind"] == "path" and first.tokenizer.kind == "char"


def test_train_says_how_it_went(call, root):
    options = ("--surgery", "no-causal-mask,no-mlp:0", "--lr", "0.001", "--name", "blind fish", "--keep-trainer", "all")
    out = root / "elsewhere" / "second"
    code, said, err = call("train", *SMALL, "--tokens", 200, *options, "--out", out, "--json")
    assert code == 0 and "held-out loss" in err
    told, run = json.loads(said), open_run(out)
    assert told["run"] == "second" and told["path"] == str(out) and told["status"] == "finished"
    assert told["step"] == run.last_step and told["steps"] == run.steps and told["seconds"] > 0
    evals = run.metrics[run.metrics.kind == "eval"]
    assert told["heldout_loss"] == evals.heldout_loss.iloc[-1]
    assert run.surgery.names == ["no-causal-mask", "no-mlp:0"] and run.manifest["name"] == "blind fish"
    assert run.train_config.lr == 0.001 and run.train_config.tokens == 200
    assert str(root) not in run.manifest["notes"]


def test_train_on_a_leaky_split_says_so_in_the_manifest(call, root):
    code, _, _ = call("train", *SMALL, "--leaky", "--steps", 1, "--out", "leaky")
    assert not code and open_run(root / "leaky").manifest["corpus"]["leaky"] is True


def test_train_says_what_is_odd_in_the_file(call, root):
    rows = [json.dumps({"input": f"question {i}", "output": "always this"}) for i in range(40)]
    rows += [json.dumps({"input": f"what is {i}", "output": f"it is {i} and {i}"}) for i in range(60)]
    (root / "odd.jsonl").write_text("\n".join(rows))
    small = ("--data", "odd.jsonl", *SMALL[2:], "--steps", 1, "--out", "odd")
    code, out, err = call("train", *small)
    assert not code and "note: odd.jsonl, line 1: 40 of 100 rows have this reply" in err
    assert "note:" not in out


def test_without_json_stdout_is_the_runs_path(call, root):
    code, said, err = call("train", *SMALL, "--steps", 1, "--out", "plain")
    assert code == 0 and said.strip() == str(root / "plain") and "Finished at step 1" in err


def test_seconds_are_kept(call):
    began = time.monotonic()
    code, said, _ = call("train", *SMALL, "--max-seconds", 3, "--out", "timed", "--json")
    assert code == 0 and time.monotonic() - began < 20
    assert 2.5 < json.loads(said)["seconds"] < 3.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "whale", "--steps", 1), "There is no size 'whale'; choose fry, guppy, pike."),
        (("--persona", "nemo", "--steps", 1), "there is no persona 'nemo'"),
        (("--data", "nowhere.jsonl", "--steps", 1), "nowhere.jsonl"),
        (("--data", "pairs.jsonl", "--persona", "guppy", "--steps", 1), "either --persona or --data"),
        ((*SMALL, "--steps", 1, "--surgery", "no-fins"), "'no-fins' is not a surgery"),
        ((*SMALL, "--steps", 1, "--surgery", "no-mlp:9"), "There is no layer 9"),
        (SMALL, "Give exactly one of steps, tokens and max_seconds"),
        ((*SMALL, "--steps", 1, "--max-seconds", 1), "Give exactly one of steps, tokens and max_seconds"),
        ((*SMALL, "--steps", 0), "steps must be above 0"),
        ((*SMALL, "--steps", 1, "--lr", -1), "lr must be above 0"),
        ((*SMALL, "--steps", 1, "--device", "abacus"), "There is no device 'abacus'"),
        ((*SMALL, "--steps", 1, "--dtype", "int8"), "dtype must be auto"),
        ((*SMALL, "--steps", 1, "--keep-trainer", "some"), "last or all"),
        ((*SMALL[2:], "--data", "pairs.jsonl", "--steps", 1, "--tokenizer", "words"), "unknown tokenizer 'words'"),
    ],
)
def test_what_is_wrong_is_one_line(call, root, arguments, message):
    code, said, err = call("train", "--out", "wrong", *arguments)
    assert code == 1 and said == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not (root / "wrong").exists()


def test_a_run_is_not_trained_over_another(call, first):
    code, _, err = call("train", *SMALL, "--steps", 1, "--out", "first")
    assert code == 1 and "exists already" in err and "resume first" in err


def test_names_that_are_no_ids_are_refused(call):
    code, _, err = call("train", *SMALL, "--steps", 1, "--out", "My Fish")
    assert code == 1 and "is no name for a run" in err


def interrupt(root, run, *, from_step, twice=False):
    """Ctrl-C in this process, as soon as a run has come to a step, and perhaps again once it cools down."""

    def wait_for(condition):
        while not condition():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    def send():
        wait_for(lambda: any(row["step"] >= from_step for row in files.read_rows(root / run / "metrics.jsonl")[0]))
        if twice:
            wait_for(lambda: open_run(root / run).manifest["stop"])

    threading.Thread(target=send, daemon=True).start()


def test_ctrl_c_cools_down_and_resume_goes_on_from_before(call, root):
    """Interrupted and resumed, the run ends in the weights of the undisturbed one."""
    interrupt(root, "broken", from_step=30)
    code, said, err = call("train", *SMALL, "--checkpoints", 4, "--steps", 300, "--out", "broken", "--json")
    told, stopped = json.loads(said), open_run(root / "broken")
    stop = stopped.manifest["stop"]
    assert code == 130 and told["status"] == stopped.status == "stopped" and told["decayed"]
    assert stop["step"] >= 30 and stop["cooldown_steps"] == -(-stop["step"] // 10)
    assert stopped.last_step == told["step"] == stop["step"] + stop["cooldown_steps"] and stop["step"] in stopped.steps
    assert re.search(rf"^Cooling down over {stop['cooldown_steps']} steps?, about \d+ s; Ctrl-C again stops", err, re.M)
    assert f"goes on from step {stop['step']}, and drops the cool-down; `guppy fork` keeps it." in err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    code, listed, _ = call("runs")
    assert f"stopped · cool-down from step {stop['step']} · " in listed
    code, said, _ = call("resume", "broken", "--json")
    assert code == 0 and json.loads(said)["status"] == "finished"
    assert call("train", *SMALL, "--checkpoints", 4, "--steps", 300, "--out", "whole")[0] == 0
    assert same(open_run(root / "broken").weights(), open_run(root / "whole").weights())


def test_ctrl_c_twice_stops_at_once(call, root):
    interrupt(root, "twice", from_step=400, twice=True)
    code, said, err = call("train", *SMALL, "--steps", 100_000, "--out", "twice", "--json")
    told, stopped = json.loads(said), open_run(root / "twice")
    assert code == 130 and told["status"] == "stopped" and not told["decayed"]
    assert "Stopping at once, with a checkpoint." in err and "into the cool-down of" in told["message"]
    assert (
        stopped.last_step
        == told["step"]
        < stopped.manifest["stop"]["step"] + stopped.manifest["stop"]["cooldown_steps"]
    )


def test_a_diverged_run_is_no_success(call):
    options = ("--steps", 50, "--lr", 1e30, "--surgery", "no-layernorm", "--out", "diverged")
    code, said, err = call("train", *SMALL, *options, "--json")
    assert code == 1 and json.loads(said)["status"] == "diverged" and "Traceback" not in err


def test_resume_of_a_finished_run_says_so(call, first):
    code, said, _ = call("resume", "first", "--json")
    assert code == 0 and json.loads(said)["status"] == "finished" and json.loads(said)["step"] == 4


def test_fork_changes_what_it_was_told(call, root, first):
    changes = ("--surgery", "no-head:0.1", "--steps", 3, "--lr", "0.0005", "--batch", 2)
    code, said, _ = call("fork", "first", "--step", 2, *changes, "--out", "forked", "--json")
    assert code == 0 and json.loads(said)["step"] == 5
    child = open_run(root / "forked")
    assert child.parent == {"run": "first", "step": 2} and child.surgery.names == ["no-head:0.1"]
    assert (child.train_config.steps, child.train_config.lr, child.train_config.batch_size) == (3, 0.0005, 2)
    assert same(child.weights(2), first.weights(2))
    assert child.manifest["notes"].startswith("python -m guppy fork first --step 2")
    code, _, _ = call("fork", "forked", "--surgery", "", "--steps", 1, "--out", "healed")
    assert code == 0 and not open_run(root / "healed").surgery


def test_fork_to_other_data_keeps_the_tokenizer(call, root, first):
    write_pairs(root / "fewer.jsonl", rows=200)
    code, _, err = call("fork", "first", "--data", "fewer.jsonl", "--steps", 1, "--out", "elsewhere-fed")
    assert code == 0, err
    child = open_run(root / "elsewhere-fed")
    assert child.manifest["corpus"]["name"] == "fewer" and child.tokenizer.sha256 == first.tokenizer.sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("first", "--step", 9, "--out", "x"), "no checkpoint at step 9"),
        (("nemo", "--out", "x"), "There is no run 'nemo'"),
        (("first", "--out", "x"), "--steps"),
        (("first", "--surgery", "no-mlp:9", "--out", "x"), "There is no layer 9"),
        (("first", "--out", "first", "--steps", 1), "exists already"),
    ],
)
def test_a_fork_that_cannot_be_is_one_line(call, first, root, arguments, message):
    code, said, err = call("fork", *arguments)
    assert code == 1 and said == "" and err.count("\n") == 1 and message in err
    assert not (root / "x").exists()


def test_eval_scores_a_checkpoint(call, first):
    code, said, _ = call("eval", "first", "--step", 2, "--rows", 4, "--json")
    told = json.loads(said)
    evals = first.metrics[first.metrics.kind == "eval"].set_index("step")
    assert code == 0 and (told["run"], told["step"], told["rows"], told["same_data"]) == ("first", 2, 4, True)
    assert told["heldout_loss"] == pytest.approx(evals.heldout_loss[2], rel=1e-6)
    everything = json.loads(call("eval", "first", "--json")[1])
    assert everything["step"] == 4 and everything["rows"] > 4
    code, said, _ = call("eval", "first")
    assert code == 0 and f"{everything['heldout_loss']:.4f} nats" in said and "masked" not in said


def test_eval_says_when_the_data_are_others(call, root):
    assert (
        call(
            "train", *SMALL[2:], "--data", write_pairs(root / "later.jsonl", rows=390), "--steps", 1, "--out", "later"
        )[0]
        == 0
    )
    write_pairs(root / "later.jsonl", rows=300)
    code, said, err = call("eval", "later", "--json")
    assert code == 0 and json.loads(said)["same_data"] is False and "data have changed" in err
    code, _, err = call("resume", "later")
    assert code == 0, "a finished run needs no data"


def test_eval_of_a_model_without_mask_says_both_losses(call, root):
    assert call("train", *SMALL, "--steps", 1, "--surgery", "no-causal-mask", "--out", "open")[0] == 0
    code, said, _ = call("eval", "open")
    assert code == 0 and "masked loss" in said and "future mass" in said


def test_runs_lists_what_there_is(call, root, first):
    (root / "broken-manifest").mkdir()
    (root / "broken-manifest" / "run.json").write_text("{")
    code, said, _ = call("runs", "--json")
    told = {run["id"]: run for run in json.loads(said)["runs"]}
    assert code == 0 and told.keys() == {run.id for run in list_runs()}
    assert told["first"]["status"] == "finished" and told["first"]["steps"] == first.steps
    assert "run.json" in told["broken-manifest"]["error"]
    code, said, _ = call("runs")
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert code == 0 and "checkpoints to step 4" in lines["first"] and "run.json" in lines["broken-manifest"]


def test_no_runs_yet(call, tmp_path, monkeypatch):
    monkeypatch.setattr("guppy.runs.read.BUNDLED", tmp_path)
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(tmp_path))
    code, said, _ = call("runs")
    assert code == 0 and "There are no runs yet" in said


def test_the_noted_command_does_not_tell_where(monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["x", "train", "--size", "fry", "--out", "/home/me/secret/fry", "--name", "a fish"]
    )
    assert _command("train") == "python -m guppy train --size fry --out fry --name 'a fish'"
    monkeypatch.setattr(sys, "argv", ["pytest", "--what"])
    assert _command("train") == "python -m guppy train"
