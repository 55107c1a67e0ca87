"""One token's way through the network: the vectors are the model's own, and every number's arithmetic adds up to it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from networks import some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import hook_points, intervene, record
from guppy.inspect import arithmetic, code_lines
from guppy.inspect.anatomy import anatomy
from guppy.inspect.arithmetic import Explanation, explain
from guppy.inspect.matrices import farthest, matrices
from guppy.inspect.sums import TERM
from guppy.surgery import Surgery

SURGERIES = {
    "none": Surgery(),
    "no-causal-mask": Surgery(causal_mask=False),
    "no-mlp": Surgery(mlp_off=(1,)),
    "no-attention": Surgery(attention_off=(1,)),
    "no-head": Surgery(heads_off=((1, 1),)),
    "no-positions": Surgery(positions=False),
    "no-layernorm": Surgery(layernorm=False),
    "no-residual": Surgery(residual=False),
    "no-scale": Surgery(scale=False),
}
REPLACED = {("no-positions", "pos_embed"), ("no-mlp", "mlp_out"), ("no-attention", "attn_out"), ("no-head", "z")}
POS, HEAD, LAYER = 6, 1, 1
UNRECORDED = {"ln1", "ln2", "ln_final", "scores", "logits", "probabilities"}


def a_model(surgery: Surgery | None = None, **changes):
    return tiny(surgery, n_layers=3, **changes)


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return some_ids(a_model(), batch=1)[0]


def recorded(model, ids):
    with torch.no_grad(), record(model, ["*"]) as tape:
        logits = model(ids[None])
    return {name: value[0] for name, value in tape.items()}, logits[0]


def by_hand(model, ids, layer: int, pos: int, head: int) -> dict[str, torch.Tensor]:
    """The vector of every stage, from the recorded streams and the weights alone."""
    tape, logits = recorded(model, ids)
    block, config = model.blocks[layer], model.config
    made = {"embed": model.embed.weight[ids[pos]], "pos_embed": tape["hook_pos_embed"][pos]}
    for name, stream, ln in (
        ("ln1", tape[f"blocks.{layer}.hook_resid_pre"], block.ln1),
        ("ln2", tape[f"blocks.{layer}.hook_resid_mid"], block.ln2),
        ("ln_final", tape[f"blocks.{config.n_layers - 1}.hook_resid_post"], model.ln_final),
    ):
        every = stream
        if ln.on:
            std = (stream.var(-1, unbiased=False, keepdim=True) + ln.eps).sqrt()
            normalized = (stream - stream.mean(-1, keepdim=True)) / std
            every = normalized * ln.weight + ln.bias
            made[f"{name}_mean"] = stream[pos].mean()[None]
            made[f"{name}_variance"] = stream[pos].var(unbiased=False)[None]
            made[f"{name}_scale"], made[f"{name}_normalized"] = std[pos], normalized[pos]
        made[name] = every[pos]
        if name == "ln1":
            w = block.attn.qkv.weight.view(3, config.n_heads, config.d_head, config.d_model)
            b = block.attn.qkv.bias.view(3, config.n_heads, 1, config.d_head)
            q, k, v = torch.einsum("nhed,pd->nhpe", w, every) + b
    made |= {"q": q[head, pos], "k": k[head, pos], "v": v[head, pos]}
    factor = 1 / math.sqrt(config.d_head) if model.surgery.scale else 1.0
    made["scores"] = k[head] @ q[head, pos] * factor
    made["masked"] = made["scores"].clone()
    if model.surgery.causal_mask:
        made["masked"][pos + 1 :] = -torch.inf
    made["pattern"] = made["masked"].softmax(-1)
    made["z"] = made["pattern"] @ v[head] * ((layer, head) not in model.surgery.heads_off)
    made["result"] = made["z"] @ block.attn.out.weight[:, head * config.d_head : (head + 1) * config.d_head].T
    for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
        made[name] = tape[f"blocks.{layer}.hook_{name}"][pos]
    made["mlp_pre"] = block.mlp.up(made["ln2"])
    made["mlp_post"] = made["mlp_pre"].relu()
    made["logits"] = logits[pos]
    made["probabilities"] = logits[pos].softmax(-1)
    return made


@pytest.mark.parametrize("surgery", SURGERIES)
def test_every_number_is_the_recorded_one_and_its_arithmetic_adds_up_to_it(surgery, ids):
    model = a_model(SURGERIES[surgery])
    with torch.no_grad():
        expected = by_hand(model, ids, LAYER, POS, HEAD)
    assert set(arithmetic.STAGES) - set(expected) == (
        {stage for stage in arithmetic.STAGES if stage.startswith("ln") and stage not in UNRECORDED}
        if surgery == "no-layernorm"
        else set()
    )
    for stage, vector in expected.items():
        for index in {0, len(vector) // 2, len(vector) - 1}:
            found = explain(model, ids, stage, layer=LAYER, pos=POS, head=HEAD, index=index)
            assert found.length == len(vector), stage
            assert found.value == pytest.approx(vector[index].item(), rel=1e-5, abs=1e-5), stage
            if not found.replaced:
                assert found.computed == pytest.approx(found.value, rel=1e-5, abs=1e-5), stage
            assert found.replaced == ((surgery, stage) in REPLACED), stage


def test_the_operands_add_up_by_a_sum_of_ones_own(ids):
    model = a_model(act_fn="gelu_new")
    forms = set()
    for stage in arithmetic.STAGES:
        found = explain(model, ids, stage, layer=LAYER, pos=POS, head=HEAD)
        forms.add(found.form)
        assert again(found) == pytest.approx(found.value, rel=1e-5, abs=1e-5), stage
        assert found.computed == pytest.approx(found.value, rel=1e-5, abs=1e-5), stage
    assert forms == {"products", "sum", "function", "copy"}


def again(e: Explanation) -> float:
    """The number from what the explanation shows, and nothing else."""
    if e.form == "copy":
        return next(iter(e.scalars.values()))
    if e.form in ("products", "sum"):
        terms = (
            e.left.tolist()
            if e.right is None
            else [x * w for x, w in zip(e.left.tolist(), e.right.tolist(), strict=True)]
        )
        return e.factor * (math.fsum(terms) + (e.bias or 0))
    s = e.scalars
    if e.left is not None:
        return math.exp(s[e.left_name] - s["largest"]) / s["sum"]
    if e.stage.endswith("_scale"):
        return math.sqrt(s["variance"] + s["eps"])
    if e.stage.endswith("_normalized"):
        return (s["x"] - s["mean"]) / s["scale"]
    if e.stage == "masked":
        return s["score"] if s["key"] <= s["query"] else -math.inf
    x = s["pre"]
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


@pytest.mark.parametrize("surgery", ["none", "no-layernorm", "no-residual"])
def test_every_operand_that_is_a_number_of_the_pass_leads_to_it(surgery, ids):
    model = a_model(SURGERIES[surgery])
    followed = 0
    for stage in arithmetic.STAGES:
        if surgery == "no-layernorm" and stage.startswith("ln") and stage not in UNRECORDED:
            continue
        found = explain(model, ids, stage, layer=LAYER, pos=POS, head=HEAD, index=3 if "_" not in stage else 0)
        for vector, came in ((found.left, found.left_from), (found.right, found.right_from)):
            for term in {0, len(vector) - 1} if vector is not None and came else ():
                reference = dict(came[term] if isinstance(came, list) else came)
                at = {key: term if value == TERM else value for key, value in reference.items()}
                operand = explain(model, ids, at.pop("stage"), **at)
                assert operand.value == pytest.approx(vector[term].item(), abs=1e-6), (stage, reference)
                followed += 1
        for name, reference in found.scalars_from.items():
            at = dict(reference)
            operand = explain(model, ids, at.pop("stage"), **at)
            assert operand.value == pytest.approx(found.scalars[name], abs=1e-6), (stage, name)
            followed += 1
    assert followed > 30


@pytest.mark.parametrize("surgery", SURGERIES)
def test_the_anatomy_is_the_recorded_tensors(surgery, ids):
    model = a_model(SURGERIES[surgery])
    found = anatomy(model, ids, LAYER, POS, HEAD, top=5, also=ids[:1])
    with torch.no_grad():
        expected = by_hand(model, ids, LAYER, POS, HEAD)
    tape, logits = recorded(model, ids)
    close = torch.testing.assert_close
    for stage, vector in expected.items():
        if stage.startswith("ln") and stage.split("_")[-1] in ("mean", "variance", "scale"):
            assert getattr(found, stage) == pytest.approx(vector.item(), rel=1e-5, abs=1e-6)
        elif stage in ("q", "k", "v", "z", "result", "scores", "masked", "pattern"):
            close(getattr(found, stage)[HEAD], vector)
        else:
            close(getattr(found, stage), vector)
    close(found.keys, tape[f"blocks.{LAYER}.attn.hook_k"][:, HEAD])
    close(found.values, tape[f"blocks.{LAYER}.attn.hook_v"][:, HEAD])
    close(found.stream[0], tape["blocks.0.hook_resid_pre"][POS])
    for layer in range(3):
        close(found.stream[2 * layer + 1], tape[f"blocks.{layer}.hook_resid_mid"][POS])
        close(found.stream[2 * layer + 2], tape[f"blocks.{layer}.hook_resid_post"][POS])
    assert found.visible.tolist() == [surgery == "no-causal-mask" or key <= POS for key in range(len(ids))]
    if surgery != "no-attention":
        close(found.result.sum(0) + found.attn_bias, found.attn_out)
    order = logits[POS].argsort(descending=True)
    assert found.listed[:5].tolist() == order[:5].tolist() and {int(ids[0]), int(ids[POS + 1])} <= set(
        found.listed.tolist()
    )
    assert [order[rank].item() for rank in found.ranks.tolist()] == found.listed.tolist()
    assert (found.next_id, found.pos, found.id) == (ids[POS + 1], POS, ids[POS])


def test_what_is_switched_off_is_said(ids):
    said = {}
    for name, surgery in SURGERIES.items():
        found = anatomy(a_model(surgery), ids, LAYER, POS)
        said[name] = (found.off, found.heads_off)
        assert (found.ln1_scale is None) == (found.ln1_gain is None) == (name == "no-layernorm")
    assert said == {
        "none": ([], []),
        "no-causal-mask": (["causal_mask"], []),
        "no-mlp": (["mlp"], []),
        "no-attention": (["attention"], []),
        "no-head": ([], [1]),
        "no-positions": (["positions"], []),
        "no-layernorm": (["layernorm"], []),
        "no-residual": (["residual"], []),
        "no-scale": (["scale"], []),
    }
    assert anatomy(a_model(SURGERIES["no-mlp"]), ids, 0, POS).off == []


def test_an_intervention_is_told_from_the_arithmetic(ids):
    model = a_model()
    with intervene(model, {f"blocks.{LAYER}.attn.hook_q": lambda value, _point: value + 1}):
        found = explain(model, ids, "q", layer=LAYER, pos=POS)
        after = explain(model, ids, "scores", layer=LAYER, pos=POS)
    assert found.replaced and found.value == pytest.approx(found.computed + 1, abs=1e-5)
    assert not after.replaced and after.computed == pytest.approx(after.value, abs=1e-5)
    assert not any(point.listened for point in hook_points(model).values())


def test_hooks_are_named_so_that_a_tape_gives_the_number(ids):
    model = a_model()
    tape, _ = recorded(model, ids)
    for stage in arithmetic.STAGES:
        found = explain(model, ids, stage, layer=LAYER, pos=POS, head=HEAD)
        if found.hook:
            name, index = found.hook.rstrip("]").split("[")
            assert tape[name][tuple(map(int, index.split(", ")))].item() == found.value, found.hook
        else:
            assert stage in UNRECORDED or stage.endswith(("_mean", "_variance"))


def test_the_lines_of_code_are_in_the_files():
    root = Path(__file__).resolve().parents[2]
    assert set(arithmetic.STAGES) <= set(code_lines.STAGES)
    for stage in code_lines.STAGES:
        for line in code_lines.code_lines(stage):
            file = (root / line.path).read_text(encoding="utf-8").splitlines()
            assert file[line.number - 1].strip() == line.text.strip() and line.part in line.text, stage
            assert file[line.number - 2].strip() == line.above.strip() or not line.above
            assert file[line.number].strip() == line.below.strip() or not line.below
    assert {line.path for line in code_lines.code_lines("q")} == {"guppy/model.py"}
    assert "self.qkv(x)" in code_lines.code_lines("q")[0].text


def test_what_is_not_there_is_refused(ids):
    model = a_model()
    for wrong, said in (
        ({"layer": 3}, "no layer 3"),
        ({"pos": 11}, "no position 11"),
        ({"head": 2}, "no head 2"),
        ({"index": 16}, "no number 16"),
    ):
        with pytest.raises(GuppyError, match=said):
            explain(model, ids, "resid_mid", **wrong)
    with pytest.raises(GuppyError, match="no stage 'qq'"):
        explain(model, ids, "qq")
    with pytest.raises(GuppyError, match="switched off"):
        explain(a_model(Surgery(layernorm=False)), ids, "ln1_mean")
    with pytest.raises(GuppyError, match="one of the model's 64"):
        anatomy(model, ids, also=torch.tensor([64]))
    with pytest.raises(GuppyError, match="training mode"):
        anatomy(a_model(dropout=0.1).train(), ids)


def test_small_pictures_of_the_matrices(ids):
    model = a_model()
    found = matrices(model, LAYER, HEAD)
    x, block = torch.randn(16), model.blocks[LAYER]
    q, k, v = (block.attn.qkv.weight @ x).view(3, 2, 8)[:, HEAD]
    for name, expected in (("w_q", q), ("w_k", k), ("w_v", v), ("w_o", block.attn.out.weight @ x)):
        torch.testing.assert_close(x @ getattr(found, name).float(), expected, atol=0.02, rtol=0.01)
    torch.testing.assert_close(x @ found.w_up.float(), block.mlp.up.weight @ x, atol=0.02, rtol=0.01)
    assert found.w_down.shape == (24, 16) and found.w_e.shape == (48, 16)
    large = torch.arange(16.0).view(4, 4) - 9
    assert farthest(large, 2).tolist() == [[-9, -7], [4, 6]]
    with pytest.raises(GuppyError, match="no layer 3"):
        matrices(model, 3)
