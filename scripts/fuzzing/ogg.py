"""Ogg pages with right checksums, so that mutated packets get past the container to Opus.

Source: RFC 3533 (pages), RFC 7845 (OpusHead, OpusTags).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

FIRST, LAST = 2, 4
SERIAL = 7
HEAD = b"OpusHead\x01\x01\x00\x00\xc0\x5d\x00\x00\x00\x00\x00"
"""Version 1, mono, no pre-skip, 24 kHz, no gain, mapping family 0."""
TAGS = b"OpusTags\x04\x00\x00\x00fuzz\x00\x00\x00\x00"
MOST_SEGMENTS = 255


def _entry(number: int) -> int:
    value = number << 24
    for _ in range(8):
        value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
    return value & 0xFFFFFFFF


_TABLE = tuple(_entry(number) for number in range(256))


def checksum(data: bytes) -> int:
    """Give Ogg's checksum: CRC-32 of polynomial 04c11db7, not reflected, beginning with 0."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFFFFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value


def page(packets: Sequence[bytes], number: int, flags: int = 0, granule: int = 0) -> bytes:
    """Write one page of whole packets; what does not fit into it is left out."""
    lacing, body = bytearray(), bytearray()
    for packet in packets:
        sizes = [255] * (len(packet) // 255) + [len(packet) % 255]
        if len(lacing) + len(sizes) > MOST_SEGMENTS:
            break
        lacing += bytes(sizes)
        body += packet
    head = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, granule, SERIAL, number, 0, len(lacing))
    whole = bytes(head) + bytes(lacing) + bytes(body)
    return whole[:22] + checksum(whole).to_bytes(4, "little") + whole[26:]


def stream(packets: Sequence[bytes], head: bytes = HEAD, tags: bytes = TAGS) -> bytes:
    """Write a stream of Opus packets, a page each."""
    pages = [page([head], 0, FIRST), page([tags], 1)]
    pages += [
        page([packet], 2 + number, granule=1_920 * (number + 1))
        for number, packet in enumerate(packets)
    ]
    return b"".join(pages)
