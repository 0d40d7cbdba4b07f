"""Bytes of a text file → text, in any of several encodings.

The published set "Disasters on Social Media" (Figure Eight / CrowdFlower) circulates in several
encodings, all of which hold the same damage: its typographic punctuation was written in Mac Roman
as UTF-8 read as Windows-1252, and then read as Latin-1. `Decoded.repair` undoes it.
"""

import codecs

import ftfy
import msgspec

from shared.errors import DataError

_LEGACY = "sloppy-windows-1252"  # of ftfy: lacking bytes become control characters
_SHOWN = 5  # line numbers in a note
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's mark
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Decoded(msgspec.Struct, frozen=True):
    """A decoded file.

    Attributes:
        text: all of it, with its line ends.
        notes: messages for the user about decoding it.
        damaged_by: the encoding that caused the published set's damage, if it is damaged.
    """

    text: str
    notes: list[str] = []
    damaged_by: str | None = None

    def repair(self, text: str) -> str:
        """Undo the published set's damage in a part of the text."""
        if self.damaged_by is None or text.isascii():
            return text
        try:
            text = text.encode(self.damaged_by).decode("mac_roman")
        except UnicodeEncodeError:
            return text
        for damaged, meant in (("â€_", "…"), ("â€ù", "”")):  # cp1252 lacks its last byte
            text = text.replace(damaged, meant)
        return ftfy.fix_text(text, uncurl_quotes=False, unescape_html=False)


def decode(content: bytes) -> Decoded:
    """Decode a text file: UTF-8, UTF-16, UTF-32 or Windows-1252.

    In a UTF-8 file with some invalid bytes, only these bytes are read as Windows-1252.

    Raises:
        DataError: if it is not text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    encoding = encoding or _utf16_without_mark(content) or "utf-8"
    notes: list[str] = []
    damaged_by = None
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith("utf-16") or encoding == "utf-32":
            raise DataError(f"is damaged {encoding.upper()}: {error.reason}") from error
        if b"\x89\xdb" in content:  # only the published set has it
            text, damaged_by = content.decode("latin-1"), "latin-1"
        else:
            text, notes = _decode_partly(content)
    if "‰Û" in text:
        damaged_by = _LEGACY
    elif "\x89Û" in text:
        damaged_by = "latin-1"
    if "\0" in text:
        raise DataError("is not a text file: it holds NUL characters")
    return Decoded(text, notes, damaged_by)


def _utf16_without_mark(content: bytes) -> str | None:
    """Return the UTF-16 codec if every second byte is mostly NUL, as in European languages."""
    beginning = content[:4096]
    pairs = len(beginning) // 2
    for encoding, zeros, others in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if beginning[zeros::2].count(0) > pairs / 2 and not beginning[others::2].count(0):
            return encoding
    return None


def _decode_partly(content: bytes) -> tuple[str, list[str]]:
    """Decode a file that is not, or not completely, UTF-8. Note which it is."""
    utf8, bad = 0, {}
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            utf8 += not line.decode().isascii()
        except UnicodeDecodeError as error:
            bad[number] = line[error.start]
    if utf8 * 10 <= len(bad):  # valid UTF-8 is a coincidence here
        return content.decode(_LEGACY), ["not UTF-8; read as Windows-1252"]
    shown = ", ".join(f"{number} (0x{byte:02X})" for number, byte in list(bad.items())[:_SHOWN])
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    what = "line" if len(bad) == 1 else "lines"
    note = f"UTF-8 but for bytes in {what} {shown}{more}; only these are read as Windows-1252"
    return content.decode("utf-8", _ERRORS), [note]


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode(_LEGACY), error.end


_ERRORS = "as-windows-1252"
codecs.register_error(_ERRORS, _as_windows_1252)
