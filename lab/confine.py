"""Bounds for processes that read what a stranger wrote."""

from __future__ import annotations

from contextlib import suppress


def limit_memory(most: int) -> None:
    """Let this process have no more than so many bytes of memory of its own; where the system cannot, do nothing."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        # Data rather than address space: libraries map far more addresses than they ever use.
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
