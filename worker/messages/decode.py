"""Decode: a record's value → a tweet, several tweets, or a notice.

    bytes ─unframe─▶ JSON or text ─unwrap─▶ JSON object ─detect, read─▶ Tweet or Notice

`TRIAGE_INPUT_FORMAT` says what the bytes may be:

    auto   JSON if it begins with `{`, or is another JSON value as a whole; else plain text
    json   only JSON; anything else is refused text   every value is a text, even if it looks like
    JSON

In each format, blank values and keep-alives are notices, and bytes that are not text are refused.
"""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.errors import RecordError
from worker.messages import envelopes, fields, notices
from worker.messages.formats import FORMATS, twitter
from worker.messages.tweet import MAX_TEXT_LENGTH, Notice, Tweet, checked_text
from worker.settings import InputFormat, Settings

MAX_ITEMS = 10_000
"""Most posts in one record."""
MAX_CHARACTERS = 1 << 18
"""Characters of all texts in one record. It is scored as a whole, because its alerts and its offset
are committed together. The worst text takes 90 µs a character on a busy core, and a member that
does not poll within `TRIAGE_STALL_SECONDS` loses its partitions."""
_MOST_ENVELOPES = 6
"""Most envelopes inside each other; no real producer writes more."""

_FRAMES = (5, 9)
"""Bytes in front of JSON from a serializer with a schema registry: 0, then the schema's id of 4
bytes (Confluent) or 8 (Apicurio).

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html
"""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_JSON = (b"{", b"[", b'"')
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
"""Bytes that do not occur in text."""
_BINARY = {
    b"Obj\x01": "an Avro file",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "Parquet",
    b"\x03\x00": "a frame of AWS Glue's schema registry",
}
_JSON_START = re.compile(r'["[{}\]]|<\?xml|(?:-?\d[\d.eE+-]*|true|false|null),?\Z')
"""How JSON, a part of JSON, or XML begins. A number or a word must be the whole text."""
_UNUSUAL = re.compile(
    r'[\s"\[\]{}:<\d-]|\ufeff|data|event|id|retry|window|true|false|null|keep|heart|ping|pong',
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"\s*\d{1,7}\s*\n\s*(?=\{)")
"""The length that v1.1 writes before each message with `delimited=length`."""
_ARCHIVE = re.compile(rb"window\.YTD\.\w+\.part\d+\s*=\s*(?=\[)")
"""The JavaScript before the JSON in a file of X's archive."""
_EVENT = re.compile(r"(?:(?:event|data|id|retry):|:)")
"""How a line of server-sent events begins.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""
_MASTODON_EVENTS = frozenset(
    (
        *("update", "status.update", "delete", "notification", "notifications_merged"),
        *("filters_changed", "conversation"),
        *("announcement", "announcement.reaction", "announcement.delete"),
    )
)

_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


class Item(msgspec.Struct, frozen=True):
    """One of several posts in a record.

    Attributes:
        record: its JSON.
        found: what it was decoded to.
    """

    record: Any
    found: Tweet | Notice | RecordError

    def encode(self) -> bytes | None:
        """Encode it as a record of its own; None if it is nested too deeply."""
        try:
            return _encode_json(self.record)
        except OverflowError:  # integers of more than 64 bits
            return json.dumps(self.record).encode()
        except RecursionError:
            return None


class Paths(msgspec.Struct, frozen=True):
    """The paths of the fields, such as `a.b.c`, in records of a format that is not known here."""

    text: str | None = None
    id: str | None = None
    author: str | None = None
    created_at: str | None = None
    lang: str | None = None


_NO_PATHS = Paths()

Decoded = Tweet | Notice | Sequence["Item"]
"""What a value is decoded to: a sequence if it holds several posts."""


class Decoder:
    """Decodes the values of records.

    Args:
        input_format: what the values may be.
        paths: where the text and other fields are; tried before the known formats.
    """

    def __init__(self, input_format: InputFormat = "auto", paths: Paths = _NO_PATHS) -> None:
        self._format = input_format
        self._paths = paths
        self._is_common = input_format != "text" and paths.text is None

    def __call__(self, value: bytes | None) -> Decoded:
        """Decode a value.

        Returns:
            A sequence if the value holds several posts: a JSON array, a page of an API, lines.

        Raises:
            RecordError: `not_utf8`, `binary`, `invalid_json`, `unknown_format`, `wrong_type`,
                `no_text`, `empty_text`, `text_too_long` or `too_many_tweets`.
        """
        if value is None:
            return Notice("tombstone")
        if self._is_common and value[:1] == b"{":
            try:
                if (tweet := twitter.decode_common(value)) is not None:
                    return tweet
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # another format, or fields of unusual types
        if self._format == "auto" and (tweet := _usual_text(value)) is not None:
            return tweet
        if self._format == "text":
            text = _text_of(value.removeprefix(codecs.BOM_UTF8))
            return Notice("keep_alive") if notices.is_keep_alive(text) else _plain(text)
        return self._decode(value)

    def _decode(self, value: bytes) -> Decoded:
        value = _unframed(value)
        start = value.lstrip()[:1]
        if start == b"{":
            try:
                record = _parse(value)
            except RecordError as error:
                if (records := _lines(value)) is None:
                    raise error from None
                return self._several(records)
            return self._read(record)
        text = _text_of(value)
        if notices.is_keep_alive(text):
            return Notice("keep_alive")
        return self._read_text(text)

    def _read_text(self, text: str, unwrapped: Sequence[envelopes.Envelope] = ()) -> Decoded:
        """Read a value that does not look like a JSON object."""
        stripped = text.strip()
        if _EVENT.match(stripped) and (event := _server_sent_event(stripped)) is not None:
            return self._read(event, unwrapped)
        try:
            if self._format != "json" and not _JSON_START.match(stripped):
                return _plain(text)
            record = _parse(stripped.encode())
        except RecordError:
            if self._format == "json":
                raise
            if stripped.startswith(("{", "[{", '["')):
                raise
            if _is_fragment(stripped):
                raise RecordError(
                    "unknown_format",
                    "the value is a line of a JSON document; expected a whole object per record",
                ) from None
            if stripped.startswith("<?xml"):
                raise RecordError(
                    "unknown_format", "the value is XML; expected JSON or text"
                ) from None
            return _plain(text)
        return self._read(record, unwrapped)

    def _read(self, record: Any, unwrapped: Sequence[envelopes.Envelope] = ()) -> Decoded:
        """Read parsed JSON, through its envelopes."""
        if len(unwrapped) > _MOST_ENVELOPES:
            raise RecordError("unknown_format", f"there are more than {_MOST_ENVELOPES} envelopes")
        if isinstance(record, str):
            if record.lstrip()[:1] in ("{", "[", '"'):
                inner = _envelope("JSON string", "send the JSON itself")
                return self._read_text(record, [*unwrapped, inner])
            return Notice("keep_alive") if notices.is_keep_alive(record) else _plain(record)
        if isinstance(record, list):
            return self._several(_posts(record), unwrapped)
        if record is None:
            return Notice("tombstone")
        if not isinstance(record, dict):
            raise RecordError(
                "unknown_format",
                f"the value is JSON of type {type(record).__name__}; expected an object",
            )
        if (tweet := self._by_paths(record)) is not None:
            return tweet
        for known in FORMATS:
            if known.detect(record):
                if (found := known.read(record)) is not None:
                    return found
                raise RecordError("no_text", _no_text(record, unwrapped))
        for envelope in envelopes.ENVELOPES:
            if (inside := envelope.unwrap(record)) is not None:
                if isinstance(inside, Notice):
                    return inside
                return self._read(inside[0], [*unwrapped, envelope])
        if (notice := notices.find(record)) is not None:
            return notice
        if (page := envelopes.split(record)) is not None:
            return self._several(page, unwrapped)
        if (tweet := twitter.read(record)) is None:
            raise RecordError("no_text", _no_text(record, unwrapped))
        return tweet

    def _several(
        self, records: Sequence[Any], unwrapped: Sequence[envelopes.Envelope] = ()
    ) -> Notice | Sequence[Item]:
        if not records:
            return Notice("empty_page")
        if len(records) > MAX_ITEMS:
            raise RecordError(
                "too_many_tweets",
                f"the record has {len(records)} posts; expected {MAX_ITEMS} at most",
            )
        items: list[Item] = []
        characters = 0
        for record in records:
            found = self._one_of_several(record, unwrapped)
            items.append(Item(record, found))
            if isinstance(found, Tweet):
                characters += len(found.text)
        if characters > MAX_CHARACTERS:
            raise RecordError(
                "too_many_tweets",
                f"the texts in the record have {characters} characters; "
                f"expected {MAX_CHARACTERS} at most: send fewer posts in a record",
            )
        return items

    def _one_of_several(
        self, record: Any, unwrapped: Sequence[envelopes.Envelope]
    ) -> Tweet | Notice | RecordError:
        try:
            found = self._read(record, [*unwrapped, _IN_ARRAY])
        except RecordError as error:
            return error
        if isinstance(found, Tweet | Notice):
            return found
        return RecordError("unknown_format", "the array contains another array or page of posts")

    def _by_paths(self, record: dict[str, Any]) -> Tweet | None:
        """Read a record by the paths that the settings name; None if there is no text at theirs."""
        paths = self._paths
        if paths.text is None or (text := fields.text(_at(record, paths.text))) is None:
            return None
        return Tweet(
            checked_text(text),
            fields.identifier(_at(record, paths.id)),
            fields.identifier(_at(record, paths.author)),
            fields.created_at(_at(record, paths.created_at)),
            fields.language(_at(record, paths.lang)),
        )


def new_decoder(settings: Settings) -> Decoder:
    """Make the decoder that the settings describe."""
    paths = Paths(
        settings.text_field,
        settings.id_field,
        settings.author_field,
        settings.created_at_field,
        settings.lang_field,
    )
    return Decoder(settings.input_format, paths)


def _envelope(name: str, advice: str) -> envelopes.Envelope:
    return envelopes.Envelope(name, advice, lambda _: None)


_IN_ARRAY = _envelope("JSON array", "send each post in a record of its own")


def _unframed(value: bytes) -> bytes:
    """Remove what a serializer or a protocol writes before JSON."""
    value = value.removeprefix(codecs.BOM_UTF8)
    if value.startswith(_UTF16) or _is_utf16(value):
        # Text in UTF-16 would be a guess; JSON shows by its first character that it is none.
        endian = "utf-16" if value.startswith(_UTF16) else "utf-16-le" if value[0] else "utf-16-be"
        inner = value.decode(endian, "replace").encode()
        return inner if inner.lstrip()[:1] in _JSON else value
    if value[:1] == b"\0":
        for frame in _FRAMES:
            if value[frame:].lstrip()[:1] in _JSON:
                return value[frame:]
        schema = int.from_bytes(value[1:5], "big")
        raise RecordError(
            "binary",
            f"the value is Avro or Protobuf with the frame of a schema registry (magic byte 0, "
            f"schema {schema}); expected JSON: set value.converter="
            "org.apache.kafka.connect.json.JsonConverter and value.converter.schemas.enable=false",
        )
    value = value.lstrip(b"\x1e \t\r\n") if b"\x1e" in value[:8] else value  # RFC 7464
    if match := _LENGTH.match(value) or _ARCHIVE.match(value):
        value = value[match.end() :]
        return value.rstrip().removesuffix(b";")
    return value


def _text_of(value: bytes) -> str:
    """Decode bytes that are a text."""
    if value.startswith(tuple(_BINARY)):
        name = next(name for magic, name in _BINARY.items() if value.startswith(magic))
        raise RecordError("binary", f"the value is {name}; expected JSON or text in UTF-8")
    if value.startswith(_UTF16) or _is_utf16(value):
        raise RecordError("not_utf8", "the value is UTF-16; expected UTF-8")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError("not_utf8", f"the value is not UTF-8: {error}") from error
    if found := _CONTROL.search(value.strip(b"\x1e")):
        raise RecordError(
            "binary",
            f"the value is not text: it has the byte 0x{found[0].hex()} at {found.start()}, as in "
            "Avro or Protobuf; expected JSON or text in UTF-8",
        )
    return text


def _is_utf16(value: bytes) -> bool:
    """Return whether every other byte at the start is 0, as in UTF-16 without a byte order mark."""
    start = value[:64]
    return (
        b"\0" in start
        and len(start) >= 4
        and any(
            half and other.count(0) >= 0.8 * len(other) and half.count(0) <= 0.2 * len(half)
            for half, other in ((start[::2], start[1::2]), (start[1::2], start[::2]))
        )
    )


def _usual_text(value: bytes) -> Tweet | None:
    """Read plain text with a usual beginning; None if it may be something else."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return None
    # Unprintable characters may be binary data, or white space around JSON.
    if not text or _UNUSUAL.match(text) or not text.isprintable():
        return None
    return _plain(text)


def _plain(text: str) -> Tweet:
    return Tweet(checked_text(text))


def _parse(value: bytes) -> Any:
    """Parse JSON.

    Raises:
        RecordError: `invalid_json` or `not_utf8`.
    """
    try:
        return _decode_json(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(value)


def _parse_leniently(value: bytes) -> Any:
    """Parse what the strict parser refuses but JSON allows: escapes of lone surrogates."""
    try:
        return _without_lone_surrogates(json.loads(value))
    except UnicodeDecodeError as error:
        raise RecordError("not_utf8", f"the value is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError("invalid_json", f"the value is not valid JSON: {error}") from error


def _without_lone_surrogates(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(data, list):
        return [_without_lone_surrogates(item) for item in data]
    if isinstance(data, dict):
        return {
            _without_lone_surrogates(key): _without_lone_surrogates(item)
            for key, item in data.items()
        }
    return data


def _lines(value: bytes) -> list[Any] | None:
    """Parse several JSON objects, a line each (JSON Lines) or behind a separator (RFC 7464)."""
    parts = [part for part in re.split(rb"[\n\x1e]", value) if part.strip()]
    if len(parts) < 2 or not all(part.lstrip().startswith(b"{") for part in parts):
        return None
    try:
        return [_parse(part) for part in parts]
    except RecordError:
        return None


def _posts(elements: list[Any]) -> list[Any]:
    """Check that an array can be an array of posts."""
    for element in elements:
        if not isinstance(element, dict):
            raise RecordError(
                "unknown_format",
                f"the value is a JSON array with an element of type {type(element).__name__}; "
                "expected an object, or an array of objects",
            )
    return elements


def _server_sent_event(text: str) -> Any:
    """Read a server-sent event; None if it is plain text, such as `data: the new oil`."""
    event, data = None, []
    for line in text.splitlines():
        if not line.strip():
            continue
        if not _EVENT.match(line):
            return None
        name, _, rest = line.partition(":")
        if name == "event":
            event = rest.strip()
        elif name == "data":
            data.append(rest.removeprefix(" "))
    payload = "\n".join(data)
    if event in _MASTODON_EVENTS:
        return {"event": event, "stream": [], "payload": payload or None}
    if event is not None and payload:
        return payload
    if payload.lstrip()[:1] in ("{", "["):
        return payload
    if data and (notices.is_keep_alive(payload) or payload.strip().isdecimal()):
        return ""  # a number is the id of a deletion whose `event:` line is missing
    return None


def _is_fragment(text: str) -> bool:
    """Return whether a text is a line from the middle of indented JSON."""
    if len(text) > MAX_TEXT_LENGTH:
        return False
    bare = text.removesuffix(",")
    if bare in ("}", "]", "[", "}]", "]}"):
        return True
    # A member, whose value may continue, or an element with its comma.
    for candidate in (f"{{{bare}}}", f"{{{bare}}}}}", f"{{{bare}]}}", f"[{bare}]"):
        try:
            _decode_json(candidate.encode())
        except (msgspec.DecodeError, RecursionError):
            continue
        return True
    return False


def _at(record: dict[str, Any], path: str | None) -> Any:
    """Find a value by a path such as `a.b.0.c`. A key that contains dots has precedence."""
    if path is None:
        return None
    if path in record:
        return record[path]
    found: Any = record
    for key in path.split("."):
        if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return found


def _no_text(record: Mapping[str, Any], unwrapped: Sequence[envelopes.Envelope]) -> str:
    """Say what was found instead of a text, and what to change."""
    keys = ", ".join(_shown(key) for key in list(record)[:20]) + (", …" if len(record) > 20 else "")
    where = "the JSON object"
    advice = ["set TRIAGE_TEXT_FIELD to the path of the text"]
    if unwrapped:
        where += " in " + " in ".join(f"a {one.name} envelope" for one in reversed(unwrapped))
        advice += [one.advice for one in unwrapped]
    return (
        f"{where} has no text that is known; its keys are: {keys or 'none'}; {', or '.join(advice)}"
    )


def _shown(key: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in key[:40])
