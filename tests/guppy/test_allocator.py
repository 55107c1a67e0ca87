import platform
import subprocess
import sys

import pytest

FREED = """
import sys
import numpy as np
from guppy.allocator import keep_freed_memory

def resident():  # MiB
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
a = np.ones(16 * 2**20)  # 128 MiB
del a
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(("how", "kept"), [("keep", True), ("give", False)])
def test_freed_memory_is_kept_when_asked(how: str, kept: bool):
    said = subprocess.run([sys.executable, "-c", FREED, how], capture_output=True, text=True, check=True)
    assert (float(said.stdout) > 100) == kept


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    from guppy.allocator import keep_freed_memory

    keep_freed_memory()
