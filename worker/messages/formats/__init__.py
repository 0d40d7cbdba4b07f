"""Formats: a module each, with `detect(record)` and `read(record)`.

To add a format, add a module here and its records to `tests/worker/messages/test_formats.py`. No
two formats may detect the same record, so their order does not matter. `twitter` has no `detect`:
it reads what the others do not detect.

`detect` gets a JSON object and returns whether it is of the format. `read` returns its `Tweet`, a
`Notice` if it is not a post, or None if it has no text.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import msgspec

from worker.messages.tweet import Notice, Tweet


class Format(msgspec.Struct, frozen=True):
    """A format of a module here.

    Attributes:
        name: the module's.
        detect: returns whether a JSON object is of this format.
        read: reads such an object.
    """

    name: str
    detect: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Tweet | Notice | None]


def _formats() -> tuple[Format, ...]:
    names = sorted(module.name for module in iter_modules(__path__) if module.name != "twitter")
    modules = [(name, import_module(f"{__name__}.{name}")) for name in names]
    return tuple(Format(name, module.detect, module.read) for name, module in modules)


FORMATS = _formats()
