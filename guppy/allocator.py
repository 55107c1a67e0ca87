"""How the C library keeps memory that PyTorch has freed."""

from __future__ import annotations

import ctypes
import platform

# malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for its next use, where its C library is glibc; elsewhere do nothing.

    Otherwise large tensors go back to the system when they are freed, and a training step, which makes the same ones
    again, spends a sixth of its time on having pages mapped and zeroed. The process stays as large as it ever was.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
