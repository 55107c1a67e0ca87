import csv
import io
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import pytest
import torch
from networks import TEXTS, tiny

import guppy
from guppy.cli import main
from guppy.config import TrainConfig
from guppy.corpus import Corpus
from guppy.generate import generate
from guppy.inspect.asking import Question
from guppy.inspect.attention import patterns
from guppy.inspect.questions import names
from guppy.interop.gpt2 import import_gpt2
from guppy.runs import create_run, open_run
from guppy.runs.write import write_checkpoint
from guppy.surgery import Surgery


def make_run(path, *, lines, surgery=None):
    """A run with random weights at steps 0 and 4, on a corpus of a few lines."""
    data = path.parent / f"{path.name}.{'jsonl' if lines[0].startswith('{') else 'txt'}"
    data.write_text("\n".join(lines))
    corpus = Corpus.from_path(data)
    models = [tiny(surgery, seed, vocab_size=corpus.tokenizer.padded_vocab_size, n_ctx=32) for seed in (0, 1)]
    run = create_run(path, model=models[0].config, train=TrainConfig(steps=4), corpus=corpus, surgery=surgery)
    for step, model in zip((0, 4), models, strict=True):
        write_checkpoint(run.path, step, model.state_dict(), None)
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    chat = [json.dumps({"input": f"q {i} {TEXTS[i % 3]}", "output": f"a {i} {TEXTS[i % 3]}"}) for i in range(40)]
    make_run(folder / "chat", lines=chat)
    make_run(folder / "cut", lines=chat, surgery=Surgery(causal_mask=False, mlp_off=(0,)))
    make_run(folder / "plain", lines=[f"{text} {i}" for i in range(40) for text in TEXTS])
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Run a command line; returns the exit code, stdout and stderr."""

    def call(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["guppy", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as exit:
            main()
        out = capsys.readouterr()
        return exit.value.code or 0, out.out, out.err

    monkeypatch.chdir(folder)
    monkeypatch.setenv("GUPPY_CHECKPOINTS", str(folder))
    return call


def shown(text):
    """As the terminal gets it."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def test_sample_is_generate_at_each_step(call, folder):
    code, out, _ = call("sample", "chat", "--prompt", "food?", "--json", "--temperature", "1.5", "--seed", 3)
    assert code == 0
    result = json.loads(out)
    run = open_run(folder / "chat")
    assert result["run"] == "chat" and [row["step"] for row in result["samples"]] == [0, 4]
    for row in result["samples"]:
        ids = run.tokenizer.encode_chat("food?")
        (said,) = generate(run.model(row["step"]), run.tokenizer, [ids], temperature=1.5, seed=3)
        assert row == {"step": row["step"], "text": said.text, "slid": said.slid, "stopped": said.stopped}
    assert result["samples"][0]["text"] != result["samples"][1]["text"]


def test_sample_for_people_is_one_printable_line_a_step(call):
    code, out, _ = call("sample", "chat", "--prompt", "food?", "--steps", "4,0", "--temperature", "3")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["0", "4"]
    assert out.replace("\n", "").isprintable()


def test_talk_says_what_generate_says(call, folder):
    code, out, _ = call("talk", "chat", "--step", 0, "--prompt", "hi", "--temperature", 0, "--max-tokens", 9)
    run = open_run(folder / "chat")
    (said,) = generate(run.model(0), run.tokenizer, [run.tokenizer.encode_chat("hi")], max_tokens=9)
    assert code == 0 and out == shown(said.text) + "\n"


def test_a_conversation_keeps_its_turns(call, folder):
    arguments = ("talk", "chat", "--temperature", 0, "--max-tokens", 3)
    code, out, err = call(*arguments, stdin="a\n\nb\n")
    run = open_run(folder / "chat")
    model, turns, expected = run.model(), [], ""
    for line in ("a", "b"):
        turns.append(("user", line))
        (said,) = generate(model, run.tokenizer, [run.tokenizer.encode_chat(turns)], max_tokens=3)
        turns.append(("assistant", said.text))
        expected += shown(said.text) + "\n"
    assert code == 0 and out == expected
    assert ("no longer fits the 32 tokens" in err) == said.slid
    _, _, err = call(*arguments, stdin="a long line of many words\n" * 3)
    assert "no longer fits the 32 tokens" in err


def test_a_run_on_plain_text_continues_it(call, folder):
    run = open_run(folder / "plain")
    assert not run.is_chat and open_run(folder / "chat").is_chat
    code, out, _ = call("sample", "plain", "--prompt", "the", "--steps", 4, "--json")
    (said,) = generate(run.model(4), run.tokenizer, [run.tokenizer.encode("the")])
    assert code == 0 and json.loads(out)["samples"][0]["text"] == said.text
    code, out, err = call("talk", "plain", "--prompt", "")
    assert code == 1 and out == "" and err.startswith("error: The prompt is empty")


def test_inspect_gives_the_patterns(call, folder, tmp_path):
    run = open_run(folder / "cut")
    ids = run.tokenizer.encode_chat("warm?")
    expected = patterns(run.model(0), torch.tensor([ids])).pattern[0].numpy()
    code, out, _ = call("inspect", "cut", "--step", 0, "--prompt", "warm?", "--what", "attention", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["run"], result["step"], result["cut"]) == ("cut", 0, False)
    assert result["hook"] == "blocks.{layer}.attn.hook_pattern" and result["ids"] == ids
    assert result["surgery"] == ["no-causal-mask", "no-mlp:0"] and len(result["tokens"]) == len(ids)
    np.testing.assert_allclose(result["pattern"], expected, atol=1e-7)
    out = tmp_path / "new" / "x.npz"
    code, printed, _ = call("inspect", "cut", "--step", 0, "--prompt", "warm?", "--out", out)
    arrays = np.load(out)  # allow_pickle is off
    assert code == 0 and printed == ""
    np.testing.assert_array_equal(arrays["pattern"], expected)
    assert arrays["tokens"].tolist() == result["tokens"] and arrays["surgery"].tolist() == result["surgery"]
    assert call("inspect", "chat", "--prompt", "x", "--out", out)[0] == 0
    assert np.load(out)["surgery"].tolist() == [] and np.load(out)["step"] == 4


def test_a_prompt_too_long_keeps_its_end(call, folder):
    code, out, _ = call("inspect", "chat", "--prompt", "<b>\x00 water" * 8000, "--json")
    result = json.loads(out)
    assert code == 0 and result["cut"] and len(result["ids"]) == 32
    assert result["ids"] == open_run(folder / "chat").tokenizer.encode_chat("<b>\x00 water" * 30)[-32:]


def test_inspect_asks_any_question_with_its_options(call, folder, tmp_path):
    out = tmp_path / "lens.csv"
    code, printed, _ = call("inspect", "chat", "--prompt", "warm?", "--what", "attribution", "--json")
    plain = json.loads(printed)
    assert code == 0 and plain["what"] == "attribution" and {"token", "against"} <= set(plain["options"])
    assert math.isclose(plain["total"][-1], plain["logit"][-1], rel_tol=1e-3)
    chosen = ("--option", "token=#3", "--option", "against=#4", "--out", out)
    assert call("inspect", "chat", "--prompt", "warm?", "--what", "attribution", *chosen)[0] == 0
    rows = list(csv.DictReader(out.open()))
    assert {row["value"] for row in rows if row["array"] == "token"} == {"3"}
    code, printed, _ = call("inspect", "chat", "--what", "positional-qk", "--option", "layer=1", "--json")
    assert code == 0 and json.loads(printed)["options"]["layer"] == 1 and json.loads(printed)["prompt"] is None


def test_inspect_lists_its_questions(call):
    code, out, _ = call("inspect", "--list")
    listed = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert code == 0 and listed == names()
    _, out, _ = call("inspect", "--help")
    assert "attribution" in out


def test_inspect_prepares_what_takes_long(call, monkeypatch):
    @dataclass
    class Kept:
        step: int

    done = []
    asked = Question(
        "slow", "Slow.", lambda subject: Kept(*done), prompt=False, prepare=lambda _, step, __: done.append(step)
    )
    monkeypatch.setattr("guppy.inspect.questions.question", lambda name: asked)
    code, out, _ = call("inspect", "chat", "--what", "slow")
    assert code == 0 and done == [4] and out == ""
    done.clear()
    code, out, _ = call("inspect", "chat", "--what", "slow", "--step", 0, "--json")
    assert code == 0 and json.loads(out)["step"] == 0


def test_export_to_gpt2_and_to_a_light_run(call, folder, tmp_path):
    code, out, _ = call("export", "chat", "--step", 0, "--to", "gpt2", "--out", tmp_path / "gpt2")
    assert code == 0 and out == f"{tmp_path / 'gpt2'}\n"
    model, tokenizer = import_gpt2(tmp_path / "gpt2")
    run = open_run(folder / "chat")
    assert torch.equal(model.embed.weight, run.model(0).embed.weight) and tokenizer.sha256 == run.tokenizer.sha256
    assert call("export", "chat", "--to", "run", "--steps", "4", "--out", tmp_path / "light")[0] == 0
    assert open_run(tmp_path / "light").steps == [4]
    code, _, err = call("export", "cut", "--to", "gpt2", "--out", tmp_path / "cut")
    assert code == 1 and "no causal mask" in err and not (tmp_path / "cut").exists()
    assert call("export", "cut", "--to", "gpt2", "--out", tmp_path / "cut", "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("talk", "nowhere", "--prompt", "x"), "nowhere"),
        (("talk", "../chat/..", "--prompt", "x"), "run"),
        (("talk", "chat", "--step", "3", "--prompt", "x"), "it has 0, 4"),
        (("talk", "chat", "--prompt", "x", "--top-k", "0"), "top_k"),
        (("sample", "chat", "--prompt", "x", "--steps", "0,3"), "no checkpoint at step 3"),
        (("sample", "chat", "--prompt", "x", "--steps", "first"), "'first' names no steps"),
        (("sample", "chat", "--prompt", "x", "--top-p", "2"), "top_p"),
        (("inspect", "chat", "--prompt", "x"), "--json"),
        (("inspect", "chat", "--prompt", "x", "--what", "soul", "--json"), "attention"),
        (("inspect", "chat", "--prompt", "x", "--out", "chat/run.json/x.npz"), "cannot be written"),
        (("inspect", "chat", "--prompt", "x", "--out", "x.xlsx"), "neither .npz nor .csv"),
        (("inspect", "chat", "--prompt", "x", "--option", "layer", "--json"), "KEY=VALUE"),
        (("inspect", "chat", "--prompt", "x", "--option", "layer=1", "--json"), "no option 'layer'"),
        (("inspect", "chat", "--what", "lens", "--json"), "--prompt"),
        (("export", "chat", "--to", "onion", "--out", "o"), "gpt2 or run"),
        (("export", "chat", "--to", "gpt2", "--steps", "0", "--out", "o"), "--step"),
        (("export", "chat", "--to", "run", "--step", "0", "--out", "o"), "--steps"),
        (("export", "chat", "--to", "gpt2", "--out", "chat"), "exists already"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(call, arguments, says):
    code, out, err = call(*arguments)
    assert code == 1 and out == ""
    assert err.splitlines()[-1].startswith("error: ") and says in err.splitlines()[-1]
    assert "Traceback" not in err and len(err.splitlines()) == 1


def test_every_command_of_the_contract_has_help(call):
    code, out, _ = call("--help")
    assert code == 0
    for command in ("data", "train", "resume", "fork", "talk", "sample", "eval", "inspect", "runs", "export"):
        assert f" {command} " in out
        code, help, _ = call(command, "--help")
        assert code == 0 and "Usage: python -m guppy" in help


def test_help_needs_no_torch():
    code = "import sys, guppy.cli; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_module_runs_and_its_exit_code_is_the_commands(folder):
    command = [sys.executable, "-m", "guppy", "talk", str(folder / "chat"), "--step", "9", "--prompt", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "error: Run chat has no checkpoint at step 9; it has 0, 4.\n"


def test_public_names_are_what_they_say():
    assert import_module("guppy.train") and import_module("guppy.generate")
    assert callable(guppy.train) and callable(guppy.generate), "the functions, not the modules"
    assert all(getattr(guppy, name) is not None for name in guppy.__all__)
    assert set(guppy.__all__) <= set(dir(guppy))
    with pytest.raises(AttributeError, match="whale"):
        _ = guppy.whale
