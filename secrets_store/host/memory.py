"""Giving memory back after a storm of publishes."""

import ctypes
import gc


def trim() -> None:
    """Return free heap pages to the kernel; takes about a millisecond.

    glibc keeps what a storm of messages has used. Where the C library has no malloc_trim, nothing
    is given back.
    """
    gc.collect()
    trim_heap = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim_heap is not None:
        trim_heap(ctypes.c_size_t(0))
