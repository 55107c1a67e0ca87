"""The text of nanoGPT's yardstick: read, cut, made into tokens and scored in one way for both sides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from guppy.batches import Split
from guppy.corpus import Corpus
from guppy.errors import GuppyError
from guppy.tokenizer import train_char

WINDOWS_AT_ONCE = 64
Windows = Int64[Tensor, "windows pos"]
Logits = Callable[[Windows, Windows], Float[Tensor, "windows pos vocab"]]
"""A model asked for its logits after (ids, targets); the targets are for models that want to see them."""


def read_text(path: Path) -> str:
    """The characters as nanoGPT reads them: UTF-8, every line end a newline. Raises GuppyError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise GuppyError(f"{path} cannot be read ({error.strerror}); give a Shakespeare text with --data") from None
    except UnicodeDecodeError:
        raise GuppyError(f"{path} is not UTF-8 text; give a Shakespeare text with --data") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parts(text: str) -> tuple[str, str]:
    """Training and validation characters, cut where nanoGPT cuts."""
    middle = int(len(text) * 0.9)
    return text[:middle], text[middle:]


def make_corpus(text: str) -> Corpus:
    """The two parts as a corpus of one training row and one held-out row, a token for each character of the text."""
    tokenizer = train_char([text])
    train_part, validation = (Split.from_rows([tokenizer.encode(part)], ["text"]) for part in parts(text))
    return Corpus("shakespeare", tokenizer, train_part, validation, ["\n"], {"kind": "shakespeare", "chat": False})


@torch.no_grad()
def validation_loss(logits: Logits, ids: Int64[Tensor, " characters"], context: int) -> float:
    """Mean cross-entropy, nats, of every character but the first, in consecutive windows; float32 throughout."""
    whole = (len(ids) - 1) // context * context
    inputs, targets = ids[:whole].view(-1, context), ids[1 : whole + 1].view(-1, context)
    batches = list(zip(inputs.split(WINDOWS_AT_ONCE), targets.split(WINDOWS_AT_ONCE), strict=True))
    if whole < len(ids) - 1:
        batches.append((ids[None, whole:-1], ids[None, whole + 1 :]))
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    total = sum(F.cross_entropy(logits(x, y).flatten(0, 1), y.flatten(), reduction="sum").item() for x, y in batches)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    return total / (len(ids) - 1)
