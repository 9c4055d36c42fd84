"""What kind of file some bytes are, from the bytes alone; and WAV headers set right."""

from __future__ import annotations

import struct

_MAGIC: dict[bytes, str] = {
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"ID3": "mp3",
    b".snd": "au",
    b"caff": "caf",
}
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MP3_KBPS_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_FOREIGN: dict[bytes, str] = {
    b"\x1aE\xdf\xa3": "a WebM or Matroska file",
    b"%PDF-": "a PDF file",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff\xe0": "a JPEG picture",
    b"\xff\xd8\xff\xe1": "a JPEG picture",
}
_UNKNOWN_SIZE = 0xFFFF_FFFF


def recognise(data: bytes) -> str | None:
    """Name the container: wav, flac, ogg, mp3, aiff, au or caf; None for no known header."""
    if data[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return "wav" if data[8:12] in (b"WAVE", b"") else None
    if data[:4] == b"FORM":
        return "aiff" if data[8:12] in (b"AIFF", b"AIFC", b"") else None
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    return "mp3" if _begins_as_mp3(data) else None


def _begins_as_mp3(data: bytes) -> bool:
    """Whether there are two MPEG layer III frame headers, the second where the first says.

    One alone proves nothing: bare PCM may begin with these bits.
    Source: ISO/IEC 11172-3 and 13818-3, the frame header.
    """
    size = _mp3_frame_size(data[:4])
    if size is None:
        return False
    return len(data) < size + 4 or _mp3_frame_size(data[size : size + 4]) is not None


def _mp3_frame_size(header: bytes) -> int | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    kbps = (_MP3_KBPS_1 if version == 3 else _MP3_KBPS_2)[bitrate - 1]
    return (144 if version == 3 else 72) * 1_000 * kbps // _MP3_RATES[version][rate] + padding


def foreign(data: bytes) -> str | None:
    """Say what ``data`` is, if it is a file of a kind that is not read here; else None.

    A browser's recorder gives WebM and a telephone's M4A: as bare PCM they would be noise.
    """
    if data[4:8] == b"ftyp":
        return "an MP4 or M4A file"
    return next((kind for magic, kind in _FOREIGN.items() if data.startswith(magic)), None)


def looks_like_text(data: bytes) -> bool:
    """Whether ``data`` begins as text does: valid UTF-8 without control characters.

    Short input is not judged: any two bytes may be a sample.
    """
    head = data[:256]
    if len(head) < 4:
        return False
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut by the end of the head is no proof against text.
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return bool(text) and all(c.isprintable() or c in "\r\n\t\f" for c in text)


def mend_wav_header(data: bytes) -> tuple[bytes, bool]:
    """Give ``data`` with a usable data size, and whether sound is missing at its end.

    Programs that write WAV into a pipe leave 0 or 0xFFFFFFFF as sizes; 0 would be read as
    an empty file.
    """
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind == b"data":
            there = len(data) - position - 8
            if size == 0 and there:
                unknown = struct.pack("<I", _UNKNOWN_SIZE)
                return data[: position + 4] + unknown + data[position + 8 :], False
            # From half of the field's range on it is a placeholder, no size.
            return data, there < size < 0x7FFF_0000
        position += 8 + size + size % 2
    return data, False
