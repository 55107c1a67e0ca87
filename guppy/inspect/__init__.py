"""What is asked of a model: one file for each question. Results are dataclasses of tensors; drawing is elsewhere.

`guppy.inspect.ask("checkpoints/fry", "attention", prompt="are you hungry?", step=512)` asks any of them by name.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ask", "names", "question"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'guppy.inspect' has no attribute {name!r}")
    from guppy.inspect import questions

    return getattr(questions, name)
