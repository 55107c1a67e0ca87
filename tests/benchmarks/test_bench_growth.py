from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from benchmarks import growth, harness
from benchmarks.growth import AXES, Point
from guppy.errors import GuppyError

PEAK = 1e10


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which must keep its own limits, and take the matrix product's peak as known."""
    monkeypatch.setattr(growth, "measure", lambda part, *arguments, say: part(*arguments, say))
    monkeypatch.setattr(growth, "limit_memory", lambda device: None)
    monkeypatch.setattr(growth, "matmul_peak", lambda device, dtype: PEAK)
    monkeypatch.setattr(growth, "WARM_STEPS", 1)
    monkeypatch.setattr(growth, "FEWEST_STEPS", 2)


def test_two_points_end_to_end(here: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--json", "-", "--plot", str(tmp_path / "growth.html")]
    growth.main(["--axes", "batch", "--values", "4,1", "--quick", "--device", "cpu", *places])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    (curve,) = document["curves"]
    few, many = curve["points"]
    assert (few["rows"], many["rows"]) == (1, 4)
    for point in (few, many):
        tokens = 128 * point["rows"]
        assert point["tokens"] == tokens and point["seconds"] > 0 and point["peak_memory_mib"] > 50
        per_token = point["operations"] / tokens
        assert per_token == pytest.approx(6 * point["parameters"] + 12 * 6 * 384 * 128)
    assert many["seconds"] > few["seconds"]
    assert set(curve["exponents"]) == {"seconds", "step_memory_mib"}
    assert f"{many['operations'] / many['seconds'] / PEAK:.1%}" in printed.err
    assert "MiB of a step" in (tmp_path / "growth.html").read_text()


def test_a_point_in_a_process_of_its_own() -> None:
    point = Point("depth", 1, layers=1, width=64, context=16, rows=2)
    found = harness.measure(growth.measure_point, point, "cpu", 1, 0.01, say=print)
    assert found["steps"] == growth.FEWEST_STEPS and found["seconds"] > 0
    assert 0 <= found["step_memory_mib"] < found["peak_memory_mib"]
    width, inner, vocab = 64, 128, growth.VOCAB_SIZE
    norms = 2 * 2 * width + 2 * width
    assert found["parameters"] == vocab * width + 4 * width * (width + 1) + 2 * width * inner + inner + width + norms


def test_what_does_not_fit_is_said_and_left_out(here: None) -> None:
    huge = growth.measure_point(Point("width", 64_000, width=64 * 10**9), "cpu", None, 0.01, print)
    assert huge["failed"] == "does not fit into this machine's memory"
    curve = growth.summarize("width", [huge])
    assert curve["exponents"] == {"seconds": None, "step_memory_mib": None}
    document = {"machine": growth.describe(torch.device("cpu")), "peak_flops": PEAK, "curves": [curve]}
    assert "64,000 does not fit into this machine's memory" in growth.report(document)
    growth.draw(document)


def test_a_process_that_was_killed_does_not_end_the_others(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(point: Point, *_: object) -> None:
        raise GuppyError("ended with exit code -9")

    monkeypatch.setattr(growth, "measure_point", killed)
    with pytest.raises(GuppyError, match=r"no size could be measured.*exit code -9"):
        growth.main(["--axes", "depth", "--values", "1,2", "--device", "cpu"])


def test_the_exponent_is_the_slope_of_the_upper_half() -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    assert growth.exponent(sizes, [7, 7, 7, 3 * 8**2, 3 * 16**2, 3 * 32**2]) == pytest.approx(2)
    assert growth.exponent([1, 10], [5, 50]) == pytest.approx(1)
    assert growth.exponent([4], [1]) is None
    assert growth.exponent([1, 2], [0, 1]) is None


def test_axes_vary_one_size_and_keep_the_others() -> None:
    base = Point("", 0)
    for name, axis in AXES.items():
        for point in growth.points(name, axis.values):
            settings = {"layers", "width", "context", "rows"}
            changed = {setting for setting in settings if getattr(point, setting) != getattr(base, setting)}
            allowed = {"depth": {"layers"}, "width": {"width"}, "batch": {"rows"}, "context": {"context", "rows"}}
            assert changed <= allowed[name]
            if point.curve == "context, 2,048 tokens":
                assert point.rows * point.context == 2048
    assert max(AXES["context"].values) == 2048 and max(AXES["depth"].values) == 12


@pytest.mark.parametrize(
    ("axes", "values", "complaint"),
    [
        ("colour", None, "no axis 'colour'; choose some of depth,width,context,batch"),
        ("depth", "0", "depth of 0 is no size"),
        ("depth", "-3", "depth of -3 is no size"),
        ("batch", "1000000000000", "give 1 to 1,000,000"),
        ("width", "100", "width of 100 is no multiple of 64"),
        ("context", "4096", "context of 4096 does not fit into 2,048 tokens"),
        ("depth", "two", "are no whole numbers"),
        ("depth,width", "64", "name one with --axes"),
    ],
)
def test_impossible_sizes(axes: str, values: str | None, complaint: str) -> None:
    with pytest.raises(GuppyError, match=complaint):
        growth.plan(Namespace(axes=axes, values=values, quick=False))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--threads", "0"], "--threads must be at least 1"),
        (["--plot", "growth.png"], "should end in .html"),
        (["--device", "toaster"], "no device 'toaster'"),
        (["--deep"], "unrecognized arguments: --deep"),
    ],
)
def test_what_can_be_mended_is_said_at_once(
    options: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "measure", lambda *_, **__: pytest.fail("it began to measure"))
    with pytest.raises(GuppyError, match=complaint):
        growth.main(options)
