import pytest
import torch
from networks import some_ids, tiny

from guppy.errors import GuppyError
from guppy.hooks import ablate_head, find, hook_points, intervene, record, zero

PATTERN = "blocks.1.attn.hook_pattern"
MLP_OUT = "blocks.0.hook_mlp_out"


@pytest.fixture
def model():
    return tiny()


@pytest.fixture
def ids(model):
    return some_ids(model)


def quiet(model):
    return not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def twice(value, _point):
    return value * 2


# -- names --------------------------------------------------------------------------------------------


def test_names_are_those_of_the_design(model):
    layer = ["ln1.hook_scale", "ln1.hook_normalized", "ln2.hook_scale", "ln2.hook_normalized"]
    layer += [f"attn.hook_{name}" for name in ("q", "k", "v", "attn_scores", "pattern", "z", "result")]
    layer += ["mlp.hook_pre", "mlp.hook_post"]
    layer += [f"hook_{name}" for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")]
    whole = ["hook_embed", "hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_normalized"]
    points = hook_points(model)
    assert set(points) == {*whole, *(f"blocks.{i}.{name}" for i in range(2) for name in layer)}
    assert all(point.name == name for name, point in points.items())


def test_shapes_are_those_of_the_design(model, ids):
    with torch.no_grad(), record(model, hook_points(model)) as tape:
        model(ids)
    config, (batch, pos) = model.config, ids.shape
    head = (batch, pos, config.n_heads, config.d_head)
    shapes = {"hook_scale": (batch, pos, 1), "hook_q": head, "hook_k": head, "hook_v": head, "hook_z": head}
    shapes |= dict.fromkeys(("hook_attn_scores", "hook_pattern"), (batch, config.n_heads, pos, pos))
    shapes |= dict.fromkeys(("hook_pre", "hook_post"), (batch, pos, config.d_mlp))
    shapes["hook_result"] = (batch, pos, config.n_heads, config.d_model)
    for name, value in tape.items():
        assert value.shape == shapes.get(name.split(".")[-1], (batch, pos, config.d_model)), name


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (PATTERN, 1),
        ("blocks.*.attn.hook_pattern", 2),
        ("blocks.[0]*", 18),
        (lambda name: name.endswith("hook_z"), 2),
        ((PATTERN, "blocks.*.hook_resid_post", lambda name: name == "hook_embed"), 4),
        ([PATTERN, "*.hook_pattern"], 2),
    ],
)
def test_names_globs_predicates_and_sequences(model, ids, names, count):
    with torch.no_grad(), record(model, names) as tape:
        model(ids)
    assert len(tape) == count == len(find(model, names))
    assert set(tape) == set(find(model, names))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("blocks.1.attn.hook_patern", "did you mean blocks.1.attn.hook_pattern"),
        ("blocks.9.*", "No hook point matches"),
        (lambda name: False, "No hook point matches"),
        (["hook_embed", "hook_embd"], "did you mean hook_embed"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_the_nearest(model, names, says):
    with pytest.raises(GuppyError, match=says), record(model, names):
        pass
    with pytest.raises(GuppyError, match=says), intervene(model, [("hook_embed", zero), (names, zero)]):
        pass
    assert quiet(model), "what was set before the wrong name is taken off again"


# -- recording ----------------------------------------------------------------------------------------


@torch.no_grad()
def test_watching_changes_nothing(model, ids):
    unobserved = model(ids)
    for names in ("*", *hook_points(model)):
        with record(model, names) as tape:
            torch.testing.assert_close(model(ids), unobserved, rtol=1e-5, atol=1e-5)
        assert tape
    assert quiet(model)
    assert torch.equal(model(ids), unobserved)


@torch.no_grad()
def test_everything_is_recorded_but_the_result_only_by_name(model, ids):
    with record(model) as tape:
        model(ids)
    everything = set(hook_points(model))
    assert everything - set(tape) == {"blocks.0.attn.hook_result", "blocks.1.attn.hook_result"}
    with record(model, "*.hook_result") as tape:
        model(ids)
    total = tape["blocks.0.attn.hook_result"].sum(-2) + model.blocks[0].attn.out.bias
    with record(model, "blocks.0.hook_attn_out") as out:
        model(ids)
    torch.testing.assert_close(total, out["blocks.0.hook_attn_out"])


@torch.no_grad()
def test_the_tape_outlives_the_block_and_a_later_pass_overwrites(model, ids):
    with record(model, "hook_embed") as tape:
        assert tape == {}
        model(ids)
        first = tape["hook_embed"]
        model(ids.flip(1))
    assert torch.equal(tape["hook_embed"], first.flip(1))
    model(ids)
    assert torch.equal(tape["hook_embed"], first.flip(1)), "nothing is recorded after the block"


def test_detached_unless_asked(model, ids):
    with record(model, MLP_OUT) as tape:
        model(ids)
    assert not tape[MLP_OUT].requires_grad
    with record(model, MLP_OUT, detach=False) as tape:
        model(ids)
    assert tape[MLP_OUT].requires_grad
    tape[MLP_OUT].sum().backward()
    assert model.blocks[0].mlp.down.weight.grad.abs().sum() > 0


def test_gradients_are_kept_on_request(model, ids):
    with record(model, ["blocks.*.hook_resid_post", PATTERN], retain_grad=True) as tape:
        model(ids)[:, -1].sum().backward()
    assert all(value.grad is not None and value.grad.shape == value.shape for value in tape.values())
    resid = tape["blocks.1.hook_resid_post"]
    x = resid.detach().requires_grad_()
    torch.nn.functional.linear(model.ln_final(x), model.embed.weight)[:, -1].sum().backward()
    torch.testing.assert_close(resid.grad, x.grad)
    assert resid.grad[:, :-1].abs().sum() == 0 and resid.grad[:, -1].abs().sum() > 0


@torch.no_grad()
def test_gradients_cannot_be_kept_where_there_are_none(model, ids):
    with record(model, MLP_OUT, retain_grad=True) as tape:
        model(ids)
    assert tape[MLP_OUT].grad is None


@torch.no_grad()
def test_recorded_copies_move(model, ids):
    with record(model, "hook_embed", device="meta") as tape:
        logits = model(ids)
    assert tape["hook_embed"].device.type == "meta" and logits.device.type == "cpu"


# -- intervening --------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_the_function_returns_goes_on(model, ids):
    plain = model(ids)
    resid = {}
    with record(model, "blocks.1.hook_resid_pre") as tape:
        model(ids)
    with intervene(model, {"blocks.1.hook_resid_pre": lambda value, point: resid.update({point.name: value})}):
        assert torch.equal(model(ids), plain), "None means no change"
    assert torch.equal(resid["blocks.1.hook_resid_pre"], tape["blocks.1.hook_resid_pre"])
    with intervene(model, {"blocks.1.hook_resid_pre": twice}):
        changed = model(ids)
    x = model.blocks[1](tape["blocks.1.hook_resid_pre"] * 2)
    expected = torch.nn.functional.linear(model.ln_final(x), model.embed.weight)
    torch.testing.assert_close(changed, expected)
    assert torch.equal(model(ids), plain) and quiet(model)


@pytest.mark.parametrize("name", list(hook_points(tiny())))
@torch.no_grad()
def test_every_point_passes_on_what_it_is_given(model, ids, name):
    def tilt(value, _point):  # LayerNorm would undo a shift or a stretch of the whole vector
        return value * torch.linspace(1.5, 2.5, value.shape[-1])

    plain = model(ids)
    with intervene(model, {name: tilt}):
        assert (model(ids) - plain).abs().max() > 1e-4
    assert torch.equal(model(ids), plain)


@torch.no_grad()
def test_globs_and_predicates_intervene_too(model, ids):
    with intervene(model, {"blocks.*.hook_mlp_out": zero}):
        by_glob = model(ids)
    with intervene(model, [(lambda name: name.endswith("mlp_out"), zero)]):
        by_predicate = model(ids)
    with intervene(model, {MLP_OUT: zero, "blocks.1.hook_mlp_out": zero}):
        by_name = model(ids)
    assert torch.equal(by_glob, by_predicate) and torch.equal(by_glob, by_name)


@torch.no_grad()
def test_a_head_is_ablated_before_the_output_projection(model, ids):
    name = "blocks.0.attn.hook_z"
    with record(model, name) as before:
        model(ids)
    with intervene(model, {name: ablate_head(1)}), record(model, [name, "blocks.0.hook_attn_out"]) as after:
        model(ids)
    z = before[name].clone()
    z[:, :, 1] = 0
    assert torch.equal(after[name], z)
    torch.testing.assert_close(after["blocks.0.hook_attn_out"], model.blocks[0].attn.out(z.flatten(2)))
    with intervene(model, {name: ablate_head(0, 1)}), record(model, name) as none:
        model(ids)
    assert none[name].abs().sum() == 0


@torch.no_grad()
def test_hooks_run_in_the_order_they_were_opened(model, ids):
    with record(model, MLP_OUT) as tape:
        model(ids)
    value = tape[MLP_OUT]
    with record(model, MLP_OUT) as outside, intervene(model, {MLP_OUT: twice}), record(model, MLP_OUT) as inside:
        model(ids)
    assert torch.equal(outside[MLP_OUT], value) and torch.equal(inside[MLP_OUT], value * 2)
    with (
        intervene(model, {MLP_OUT: twice}),
        intervene(model, {MLP_OUT: lambda x, _: x + 1}),
        record(model, MLP_OUT) as tape,
    ):
        model(ids)
    assert torch.equal(tape[MLP_OUT], value * 2 + 1)
    assert quiet(model)


@torch.no_grad()
def test_nested_blocks_close_in_any_order(model, ids):
    plain = model(ids)
    first, second = record(model, MLP_OUT), intervene(model, {MLP_OUT: twice})
    tape = first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    changed = model(ids)
    assert tape == {} and (changed - plain).abs().max() > 1e-4, "only its own hooks went"
    second.__exit__(None, None, None)
    assert quiet(model) and torch.equal(model(ids), plain)


@torch.no_grad()
def test_exceptions_leave_nothing_behind(model, ids):
    def fail(value, _point):
        raise KeyError("on purpose")

    with pytest.raises(KeyError), record(model), intervene(model, {MLP_OUT: fail}):
        model(ids)
    assert quiet(model)
    with pytest.raises(RuntimeError), record(model), intervene(model, {MLP_OUT: twice}):
        raise RuntimeError
    assert quiet(model)


@torch.no_grad()
def test_the_users_own_hooks_are_left_alone(model, ids):
    seen = []
    on_point = hook_points(model)[MLP_OUT].register_forward_hook(lambda module, args, out: seen.append("point"))
    on_block = model.blocks[0].register_forward_hook(lambda module, args, out: seen.append("block"))
    with pytest.raises(ZeroDivisionError), record(model), intervene(model, {MLP_OUT: twice}):
        raise ZeroDivisionError
    model(ids)
    assert seen == ["point", "block"]
    on_point.remove()
    on_block.remove()
    assert quiet(model)


@torch.no_grad()
def test_a_changed_shape_is_refused(model, ids):
    refused = pytest.raises(GuppyError, match=r"blocks.0.hook_mlp_out returned the shape \(3, 16\)")
    with refused, intervene(model, {MLP_OUT: lambda value, _: value[:, 0]}):
        model(ids)
    assert quiet(model)
