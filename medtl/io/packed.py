"""Unpacking gzip, zlib and bzip2 data block by block, so that the reader can stop."""

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

CHUNK = 1 << 14  # packed bytes read at once; small, because what follows a gzip member is copied
BLOCK = 1 << 20  # unpacked bytes returned at once


def inflate(file: BinaryIO, size: int | None = None, block_size: int = BLOCK) -> Iterator[bytes]:
    """The blocks that gzip or zlib data of `size` bytes (or up to the end of the file) hold.

    Raises: zlib.error where a checksum is wrong, EOFError where the data are cut off.
    """
    unpacker = zlib.decompressobj(47)  # gzip or zlib, 32 KiB window
    read = _limited(file, size)
    while block := unpacker.unconsumed_tail or unpacker.unused_data or read():
        if unpacker.eof:
            if block[0] != 0x1F:  # no further gzip member: padding
                return
            unpacker = zlib.decompressobj(31)
        yield unpacker.decompress(block, block_size)
    if not unpacker.eof:
        raise EOFError


def unpack_bzip2(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """The blocks that bzip2 data hold.

    Raises: OSError where they are damaged, EOFError where they are cut off.
    """
    unpacker = bz2.BZ2Decompressor()
    read = _limited(file, size)
    while not unpacker.eof:
        chunk = read() if unpacker.needs_input else b""
        if unpacker.needs_input and not chunk:
            raise EOFError
        yield unpacker.decompress(chunk, BLOCK)


def _limited(file: BinaryIO, size: int | None) -> Callable[[], bytes]:
    left = size

    def read() -> bytes:
        nonlocal left
        block = file.read(CHUNK if left is None else min(CHUNK, left))
        left = None if left is None else left - len(block)
        return block

    return read
