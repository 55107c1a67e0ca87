"""Which line of the code makes which number: found in the source as it runs, by what the line says."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import guppy
from guppy.generate import _draw, next_token_distribution
from guppy.inspect.asking import Question, Subject
from guppy.model import MLP, Attention, Block, Guppy, LayerNorm

NORMS = ("ln1", "ln2", "ln_final")


@dataclass(frozen=True)
class CodeLine:
    """One line of the program."""

    path: str
    """The file, from the folder that holds the package."""
    function: str
    """Such as `Attention.forward`."""
    number: int
    """The line's number in its file, the first being 1."""
    above: str
    """The line before it, empty at the function's beginning; indented as the function is, as are all three."""
    text: str
    below: str
    """The line after it, empty at the function's end."""
    part: str
    """What in `text` makes the number."""


_LAYERNORM = {
    "_mean": ((LayerNorm.forward, "x - x.mean(-1, keepdim=True)"),),
    "_variance": ((LayerNorm.forward, "x.pow(2).mean(-1, keepdim=True)"),),
    "_scale": ((LayerNorm.forward, "(x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()"),),
    "_normalized": ((LayerNorm.forward, "self.hook_normalized(x / scale)"),),
}
_ADD = (Block.add, "stream + out if self.residual else out")

_PLACES: dict[str, tuple[tuple[Callable[..., object], str], ...]] = {
    "embed": ((Guppy.forward, "self.hook_embed(self.embed(ids))"),),
    "pos_embed": ((Guppy.forward, "self.pos_embed(position)"), (Guppy.forward, "self.hook_pos_embed(place)")),
    "entry": ((Guppy.forward, "x = self.hook_embed(self.embed(ids)) + self.hook_pos_embed(place)"),),
    "resid_pre": ((Block.forward, "self.hook_resid_pre(x)"),),
    **{f"{norm}{end}": places for norm in NORMS for end, places in _LAYERNORM.items()},
    **{norm: ((LayerNorm.forward, "* self.weight + self.bias"),) for norm in NORMS},
    "layernorm_off": ((LayerNorm.forward, "if not self.on:"), (LayerNorm.forward, "return x")),
    **{name: ((Attention.forward, "self.qkv(x)"), (Attention.forward, f"self.hook_{name}({name})")) for name in "qkv"},
    "scores": ((Attention.explicit, "einsum(q, k, "),),
    "masked": ((Attention.explicit, ".tril()"), (Attention.explicit, "scores.masked_fill(~visible, -math.inf)")),
    "pattern": ((Attention.explicit, "self.hook_attn_scores(scores).softmax(-1)"),),
    "z": ((Attention.explicit, "einsum(pattern, v, "),),
    "result": ((Attention.forward, "einsum(z, w_o, "),),
    "attn_out": ((Attention.forward, "self.hook_result(result).sum(-2) + self.out.bias"),),
    "resid_mid": ((Block.forward, "self.hook_resid_mid(self.add("), _ADD),
    "mlp_pre": ((MLP.forward, "self.hook_pre(self.up(x))"),),
    "mlp_post": ((MLP.forward, "self.hook_post(self.act("),),
    "mlp_out": ((MLP.forward, "self.down("),),
    "resid_post": ((Block.forward, "self.hook_resid_post(self.add("), _ADD),
    "logits": ((Guppy.forward, "F.linear(self.ln_final(x), self.embed.weight)"),),
    "probabilities": ((next_token_distribution, "return logits.softmax(-1)"),),
    "sample": ((_draw, "torch.searchsorted("),),
}
STAGES = tuple(_PLACES)
"""Every kind of number that has a line, in the order of the code."""


@cache
def code_lines(stage: str) -> tuple[CodeLine, ...]:
    """The lines that make the numbers of a stage, one of `STAGES`.

    Raises LookupError when the code no longer says what it is looked up by."""
    return tuple(_find(function, part) for function, part in _PLACES[stage])


def _find(function: Callable[..., object], part: str) -> CodeLine:
    source, first = inspect.getsourcelines(function)
    lines = dedent("".join(source)).splitlines()
    for i, text in enumerate(lines):
        if part in text:
            path = Path(inspect.getsourcefile(function) or "").resolve()
            root = Path(guppy.__file__).resolve().parents[1]
            above, below = lines[i - 1] if i else "", lines[i + 1] if i + 1 < len(lines) else ""
            name = path.relative_to(root).as_posix()
            return CodeLine(name, function.__qualname__, first + i, above, text, below, part)
    raise LookupError(f"{function.__qualname__} has no line with {part!r} any more.")


@dataclass(frozen=True)
class Code:
    code: dict[str, list[dict[str, Any]]]
    """For each of `STAGES` its lines, with the fields of `CodeLine`."""


def _ask_code(_subject: Subject) -> Code:
    return Code({stage: [asdict(line) for line in code_lines(stage)] for stage in STAGES})


QUESTIONS = (Question("code", "The lines of the program that make each kind of number.", _ask_code, prompt=False),)
