"""Pages of this process's memory that go back to the system."""

import ctypes
import mmap
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_NOTHING = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10 | getattr(mmap, "MAP_NORESERVE", 0x4000)
"""For mmap, with MAP_FIXED, which Python does not name: address space without memory behind it (mmap(2))."""
_IN_USE, _OF_FILE = 0xC0, 0x20
"""Of the highest byte of an entry of /proc/PID/pagemap: it is in memory, or was swapped out; it is as a file has it."""


def drop(at: int, size: int) -> None:
    """What lies there is lost, and nothing can be there again. The addresses stay taken."""
    _LIBC.mmap(at, size, 0, _NOTHING, -1, 0)


def unmap_file(begin: int, end: int) -> None:
    """
    Pages between two addresses that are mapped from a file are not this process's any more until they are touched again. Nothing
    happens where one of them has been written to, is no file's, or where the system does not tell.
    """
    begin, end = -(-begin // mmap.PAGESIZE), end // mmap.PAGESIZE
    try:
        pages = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        known = os.pread(pages, 8 * (end - begin), 8 * begin)
    finally:
        os.close(pages)
    if len(known) == 8 * (end - begin) and all(byte & _OF_FILE or not byte & _IN_USE for byte in set(known[7::8])):
        _LIBC.madvise(begin * mmap.PAGESIZE, (end - begin) * mmap.PAGESIZE, mmap.MADV_DONTNEED)
