import json

import pytest

from guppy.config import PRESETS, ModelConfig, TrainConfig, preset
from guppy.errors import GuppyError
from guppy.model import Guppy


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"n_ctx": -1}, "n_ctx"),
        ({"n_layers": 2.0}, "n_layers"),
        ({"n_heads": True}, "n_heads"),
        ({"d_model": 100, "n_heads": 6}, "multiple"),
        ({"act_fn": "swish"}, "act_fn"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"ln_eps": 0.0}, "ln_eps"),
    ],
)
def test_impossible_models_are_refused(changes, names):
    with pytest.raises(GuppyError, match=names):
        ModelConfig(**{"vocab_size": 64, **changes})


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, "exactly one"),
        ({"steps": 10, "tokens": 10}, "exactly one"),
        ({"steps": 0}, "steps"),
        ({"max_seconds": -1.0}, "max_seconds"),
        ({"steps": 1, "batch_size": 0}, "batch_size"),
        ({"steps": 1, "lr": 0.0}, "lr"),
        ({"steps": 1, "grad_clip": 0.0}, "grad_clip"),
        ({"steps": 1, "weight_decay": -0.1}, "weight_decay"),
        ({"steps": 1, "warmup": 0.7, "decay": 0.4}, "warmup"),
        ({"steps": 1, "beta2": 1.0}, "beta2"),
        ({"steps": 1, "momentum": 1.0}, "momentum"),
        ({"steps": 1, "optimizer": "sgd"}, "muon or adamw"),
        ({"steps": 1, "dtype": "int8"}, "dtype"),
    ],
)
def test_impossible_trainings_are_refused(changes, names):
    with pytest.raises(GuppyError, match=names):
        TrainConfig(**changes)


@pytest.mark.parametrize(
    "config",
    [preset("guppy", 2048, dropout=0.1), TrainConfig(max_seconds=60.0, seed=3, beta1=0.8)],
    ids=["model", "train"],
)
def test_a_config_survives_json(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_and_missing_settings_are_named():
    with pytest.raises(GuppyError, match=r"no setting n_layer;.*n_layers"):
        ModelConfig.from_dict({"vocab_size": 64, "n_layer": 2})
    with pytest.raises(GuppyError, match="vocab_size"):
        ModelConfig.from_dict({"n_layers": 2})


def test_sizes():
    assert preset("fry", 1024, n_ctx=64) == ModelConfig(1024, 64, 4, 4, 128, 512)
    with pytest.raises(GuppyError, match="fry, guppy, pike"):
        preset("whale", 1024)
    millions = {size: Guppy(preset(size, 2048)).n_params / 1e6 for size in PRESETS}
    assert 0.8 < millions["fry"] < 1.2 and 7.5 < millions["guppy"] < 9.5 and 23 < millions["pike"] < 28
