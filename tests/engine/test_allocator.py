"""Large blocks go back to the system."""

import subprocess
import sys

import pytest

from globa_tui.engine import allocator

_MAPPED = """
import ctypes, sys
from globa_tui.engine.allocator import make_room, return_large_blocks

class Facts(ctypes.Structure):
    _fields_ = [(str(number), ctypes.c_size_t) for number in range(10)]

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.mallinfo2.restype = Facts
if sys.argv[1] != "not":
    return_large_blocks()
    make_room(int(sys.argv[1]))
libc.free(libc.malloc(20 << 20))
before = getattr(libc.mallinfo2(), "4")
libc.malloc(int(sys.argv[2]) << 20)
print(getattr(libc.mallinfo2(), "4") - before >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallinfo2")
@pytest.mark.parametrize(
    ("working", "size", "mapped"), [("0", 15, 15), ("not", 15, 0), ("0", 5, 0), (str(1 << 28), 5, 5)]
)
def test_a_large_block_has_a_mapping_of_its_own_whatever_was_freed_before(working, size, mapped):
    words = [sys.executable, "-c", _MAPPED, working, str(size)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "undefined symbol: mallinfo2" in done.stderr:
        pytest.skip("this libc has no mallinfo2")
    assert int(done.stdout) == mapped


def test_another_libc_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    allocator.return_large_blocks()
    allocator.make_room(1 << 30)
