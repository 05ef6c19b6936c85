"""Memory that a process frees: kept for the next tensors, or given back to the system."""

import ctypes
import sys

# Of glibc's mallopt(3). Blocks above the first size go back to the system at once, because whole volumes would leave
# gaps; freed memory at the end of the heap does above the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BLOCK_BYTES, KEPT_BYTES = 1 << 28, 1 << 29


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones. By default glibc gives large blocks back,
    and the system clears them anew each time, which slows thin 3D networks down. Other systems stay as they are.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def release_freed_memory() -> None:
    """Give freed memory back to the system, after a job; see `keep_freed_memory`."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
