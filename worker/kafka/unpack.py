"""Unpack: bound the memory that compressed batches of records may take.

A producer's batch of 1 MB may unpack to 1 GB (gzip, zstd), and a poll unpacks many batches.
kafka-python 3.0.12 has no setting for this, so `bound_decompression` installs decoders that raise
an error beyond a limit.
"""

import contextlib
import gzip
import io
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import lz4.frame
import snappy
import zstandard
from kafka.errors import KafkaError
from kafka.record import default_records, legacy_records

MOST_BYTES = 64 << 20
"""Most bytes that a batch, or all batches of one allowance, may unpack to. By default, a producer's
request has at most 1 MiB, and text is compressed to a tenth at best."""
_PIECE = 1 << 20
_LZ4_RATIO = 255
"""The highest compression ratio of LZ4."""
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER = 16
"""Java's snappy writes this many bytes before its blocks, each with its length in 4 bytes."""


class TooLargeError(KafkaError):  # type: ignore[misc]  # kafka-python ships no types
    """A single batch unpacks to more than `MOST_BYTES`."""


class AllowanceError(KafkaError):  # type: ignore[misc]  # kafka-python ships no types
    """A batch does not fit after those before it. It may fit into the next allowance."""


class _Allowance(threading.local):
    """Bytes that this thread may still unpack; None: `MOST_BYTES` for each batch."""

    left: int | None = None


_allowance = _Allowance()


@contextlib.contextmanager
def one_allowance() -> Iterator[None]:
    """Let all batches that this thread unpacks in the context share one allowance."""
    _allowance.left = MOST_BYTES
    try:
        yield
    finally:
        _allowance.left = None


def _gzip(data: Any) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as reader:
        while piece := reader.read(_PIECE):
            yield piece


def _zstd(data: Any) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    with reader:
        while piece := reader.read(_PIECE):
            yield piece


def _lz4(data: Any) -> Iterator[bytes]:
    if _LZ4_RATIO * len(data) <= _PIECE << 4:
        yield lz4.frame.decompress(data)  # three times as fast as piece by piece
        return
    reader = lz4.frame.LZ4FrameDecompressor()
    yield reader.decompress(data, max_length=_PIECE)
    while not reader.eof:
        if not (piece := reader.decompress(b"", max_length=_PIECE)):
            raise EOFError("the LZ4 frame is cut off")
        yield piece


def _snappy(data: Any) -> Iterator[bytes]:
    """Unpack block by block; a block grows by a factor of 22 at most."""
    data = bytes(data)
    if data[: len(_XERIAL)] != _XERIAL or len(data) <= _XERIAL_HEADER:
        yield snappy.decompress(data)
        return
    position = _XERIAL_HEADER
    while position < len(data):
        (size,) = struct.unpack_from("!I", data, position)
        position += 4
        yield snappy.decompress(data[position : position + size])
        position += size


def _bounded(read: Callable[[Any], Iterator[bytes]]) -> Callable[[Any], bytes]:
    def decode(data: Any) -> bytes:
        most = MOST_BYTES if _allowance.left is None else _allowance.left
        pieces, left = [], most
        for piece in read(data):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                if most < MOST_BYTES:
                    raise AllowanceError
                raise TooLargeError(f"the batch unpacks to more than {MOST_BYTES} bytes")
        if _allowance.left is not None:
            _allowance.left = left
        return b"".join(pieces)

    return decode


gzip_decode, snappy_decode, lz4_decode, zstd_decode = map(_bounded, (_gzip, _snappy, _lz4, _zstd))


def bound_decompression() -> None:
    """Make kafka-python unpack with these decoders, in the whole process."""
    for module in (default_records, legacy_records):
        module.gzip_decode = gzip_decode
        module.snappy_decode = snappy_decode
        module.lz4_decode = lz4_decode
    default_records.zstd_decode = zstd_decode
