"""Fields: read the values of a tweet's fields, whose types differ from producer to producer.

A value with a clear meaning is read; any other becomes None. Only the text decides whether a record
can be read.
"""

import functools
import math
from typing import Any

from worker.messages.tweet import MAX_NAME_LENGTH, Coordinates, CreatedAt

_EXACT_FLOAT = 2**53
"""From this number on, a float cannot hold every integer, so an id in it has lost digits."""
_MAX_LINK_LENGTH = 2_000
_WRAPPERS = frozenset(
    ("$numberLong", "$numberInt", "$numberDouble", "$oid", "$date", "string", "int", "long")
)
"""The keys by which MongoDB's extended JSON and Avro's JSON encoding name the type of a value.

https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
https://avro.apache.org/docs/1.12.0/specification/#json-encoding
"""
_ALIASES = {"in": "id", "iw": "he", "ji": "yi", "eng": "en", "nb": "no", "nn": "no", "fil": "tl"}
"""Obsolete codes, and codes of Twitter and others, with the standard code."""
_NO_LANGUAGE = frozenset(("und", "zxx", "mul", "mis", "art"))


def text(value: Any) -> str | None:
    """Read a text; a blank one becomes None."""
    value = _unwrapped(value)
    return value if isinstance(value, str) and not value.isspace() and value else None


def first_text(record: dict[str, Any], *keys: str) -> str | None:
    """Read the first of several keys that holds a text."""
    for key in keys:
        if (found := text(record.get(key))) is not None:
            return found
    return None


def child(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Read a nested object; empty if there is none."""
    found: Any = record
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def identifier(value: Any) -> str | None:
    """Read an id or a name: a string, an integer, or a float that is exactly an integer."""
    value = _unwrapped(value)
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < _EXACT_FLOAT else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if isinstance(value, int) and abs(value) >= 10**MAX_NAME_LENGTH:
        return None
    value = str(value)
    return value if 0 < len(value) <= MAX_NAME_LENGTH else None


def created_at(value: Any) -> CreatedAt | None:
    """Read a time as the record wrote it: a string, or a number since 1970."""
    value = _unwrapped(_unwrapped(value))  # {"$date": {"$numberLong": "…"}}
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str):
        return value if 0 < len(value) <= MAX_NAME_LENGTH else None
    return value if math.isfinite(value) and abs(value) < 2**63 else None


def language(value: Any) -> str | None:
    """Read a language: the primary part of a BCP 47 tag in lower case, such as `en` of `en-GB`.

    None if the record names several, or none (`und`, and Twitter's `qme`, `qht` and so on, for
    posts without words).
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):  # of the GNIP enrichment
        value = value.get("value")
    return primary_language(value) if isinstance(value, str) else None


@functools.lru_cache(512)
def primary_language(tag: str) -> str | None:
    """Read a language from a BCP 47 tag, as `language` does."""
    tag = tag.replace("_", "-").partition("-")[0].strip().lower()
    if not (2 <= len(tag) <= 3 and tag.isascii() and tag.isalpha()):
        return None
    tag = _ALIASES.get(tag, tag)
    return None if tag in _NO_LANGUAGE or (len(tag) == 3 and "qaa" <= tag <= "qtz") else tag


def link(value: Any) -> str | None:
    """Read the address of a post: an HTTP URL without white space or control characters."""
    if not isinstance(value, str) or len(value) > _MAX_LINK_LENGTH or not value.isprintable():
        return None
    return value if value.startswith(("https://", "http://")) and " " not in value else None


def place(value: Any) -> str | None:
    """Read a place: its name, or an object that has one."""
    if isinstance(value, dict):
        keys = ("full_name", "fullName", "FullName", "displayName", "name", "Name")
        value = next((found for key in keys if (found := text(value.get(key)))), None)
    found = text(value)
    return None if found is None or len(found) > MAX_NAME_LENGTH else found


def coordinates(longitude: Any, latitude: Any) -> Coordinates | None:
    """Read a position in degrees (WGS 84); None if it is not on Earth."""
    for degrees, most in ((longitude, 180), (latitude, 90)):
        if isinstance(degrees, bool) or not isinstance(degrees, int | float):
            return None
        if not -most <= degrees <= most:  # NaN, too
            return None
    return Coordinates(float(longitude), float(latitude))


def point(value: Any) -> Coordinates | None:
    """Read a GeoJSON point, whose coordinates are longitude and latitude (RFC 7946)."""
    found = value.get("coordinates") if isinstance(value, dict) else None
    return coordinates(*found[:2]) if isinstance(found, list) and len(found) >= 2 else None


def _unwrapped(value: Any) -> Any:
    """Unwrap a value from an object that only names its type."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, inner),) = value.items()
        if key in _WRAPPERS:
            return int(inner) if isinstance(inner, str) and _is_long(key, inner) else inner
    return value


def _is_long(key: str, value: str) -> bool:
    return (
        key in ("$numberLong", "$numberInt") and value.lstrip("-").isdecimal() and len(value) < 21
    )
