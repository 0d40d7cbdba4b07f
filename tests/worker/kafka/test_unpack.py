"""What is unpacked is what kafka-python unpacks, and takes so much memory and no more."""

import random
import struct
import tracemalloc
import zlib

import lz4.frame
import pytest
import snappy
import zstandard
from kafka import codec
from kafka.record import default_records

from worker.kafka import unpack

CODECS = ("gzip", "snappy", "lz4", "zstd")
MEBIBYTE = bytes(1 << 20)


def words(size: int) -> bytes:
    choose = random.Random(size)
    vocabulary = [choose.randbytes(4).hex() for _ in range(3000)]
    return " ".join(choose.choices(vocabulary, k=size // 9)).encode()


def bomb(name: str, mebibytes: int) -> bytes:
    """Return this many MiB of zeros, compressed."""
    if name == "snappy":
        block: bytes = snappy.compress(MEBIBYTE)
        return b"\x82SNAPPY\0" + bytes(8) + (struct.pack("!i", len(block)) + block) * mebibytes
    if name == "lz4":
        packer = lz4.frame.LZ4FrameCompressor()
        pieces = [packer.begin(), *(packer.compress(MEBIBYTE) for _ in range(mebibytes))]
        return b"".join([*pieces, packer.flush()])
    gzip = name == "gzip"
    other = zlib.compressobj(wbits=31) if gzip else zstandard.ZstdCompressor().compressobj()
    packed: bytes = b"".join(other.compress(MEBIBYTE) for _ in range(mebibytes))
    return packed + other.flush()


@pytest.mark.parametrize("name", CODECS)
def test_what_is_unpacked_is_what_was_packed(name: str) -> None:
    pack, decode = getattr(codec, f"{name}_encode"), getattr(unpack, f"{name}_decode")
    for size in (9, 5_000, 3 << 20):
        text = words(size)
        packed = pack(text)
        assert decode(memoryview(packed) if name == "gzip" else packed) == text
    packed = pack(words(3 << 20))
    for cut in (1, 5, len(packed) // 2):
        try:
            unpacked = decode(packed[:-cut])
        except Exception:  # noqa: BLE001, S112  # of any class
            continue
        assert len(unpacked) < 3 << 20, "the fetcher misses what a record's length promises"
    assert snappy.compress(b"fire") != codec.snappy_encode(b"fire")
    assert unpack.snappy_decode(snappy.compress(b"fire")) == b"fire"


@pytest.mark.parametrize("name", CODECS)
def test_a_bomb_takes_no_more_than_it_may(name: str) -> None:
    decode = getattr(unpack, f"{name}_decode")
    packed = bomb(name, 80)
    assert len(packed) < 20 << 20
    tracemalloc.start()
    try:
        with pytest.raises(unpack.TooLargeError):
            decode(packed)
        assert tracemalloc.get_traced_memory()[1] < unpack.MOST_BYTES + (40 << 20)
    finally:
        tracemalloc.stop()


def test_one_allowance_is_shared_and_comes_anew() -> None:
    packed = bomb("zstd", 40)
    for _ in range(2):
        with unpack.one_allowance():
            assert len(unpack.zstd_decode(packed)) == 40 << 20
            with pytest.raises(unpack.AllowanceError):
                unpack.zstd_decode(packed)
            assert unpack.gzip_decode(bomb("gzip", 24)) == MEBIBYTE * 24
            with pytest.raises(unpack.AllowanceError):
                unpack.gzip_decode(bomb("gzip", 1))
    for _ in range(2):
        unpack.zstd_decode(packed)


def test_kafka_python_unpacks_with_them_once_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CODECS:
        monkeypatch.setattr(default_records, f"{name}_decode", getattr(codec, f"{name}_decode"))
    unpack.bound_decompression()
    for name in CODECS:
        assert getattr(default_records, f"{name}_decode") is getattr(unpack, f"{name}_decode")
