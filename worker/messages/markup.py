"""Markup: turn HTML and its entities into plain text."""

import html
import re
from html.entities import html5

_ELEMENTS = (
    "a|abbr|audio|b|blockquote|br|center|cite|code|dd|del|details|div|dl|dt|em|figcaption|figure|"
    "font|h[1-6]|hr|i|iframe|img|ins|kbd|li|mark|ol|p|path|picture|pre|q|rp|rt|ruby|s|samp|script|"
    "section|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|tfoot|th|"
    "thead|tr|tt|u|ul|var|video"
)
_ATTRIBUTE = r"""\s+[\w:@.-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"<(/?)({_ELEMENTS})(?:{_ATTRIBUTE})*\s*/?>|<!--[^<>]*-->", re.IGNORECASE)
"""An HTML tag as it occurs in posts. Other angle brackets are text, as in `<3`. The pattern never
crosses the next bracket, so the search takes linear time."""
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_PARAGRAPHS = frozenset(("p", "div", "blockquote", "pre", "ul", "ol", "table"))
_LINES = frozenset(("br", "hr", "li", "tr", "dt", "dd"))
_BREAKS = re.compile(r"\n[ \t]*\n\s*")
_MOST_LAYERS = 3
"""A feed may escape twice, as in `&amp;lt;p&amp;gt;`."""


def plain_text(text: str) -> str:
    """Remove HTML tags from a text and decode its entities.

    Paragraphs and `<br>` become line breaks. Parts of a link that Mastodon hides are kept, so that
    the whole address appears. A text without tags and entities is returned as it is.
    """
    for _ in range(_MOST_LAYERS):
        before = text
        if "<" in text and (bare := _TAG.sub(_break, text)) != text:
            text = _BREAKS.sub("\n\n", bare).strip()
        if "&" not in text:
            break
        text = _ENTITY.sub(_decoded, text)
        if text == before:
            break
    return text


def _decoded(entity: re.Match[str]) -> str:
    name = entity[0][1:]
    return html.unescape(entity[0]) if name.startswith("#") else html5.get(name, entity[0])


def _break(tag: re.Match[str]) -> str:
    name = (tag[2] or "").lower()
    if name in _PARAGRAPHS:
        return "\n\n"
    return "\n" if name in _LINES and not tag[1] else ""
