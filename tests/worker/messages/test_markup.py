import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.messages.markup import plain_text


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("Fire", "Fire"),
        ("<p>Fire</p>", "Fire"),
        ("<p>Fire</p><p>Smoke</p>", "Fire\n\nSmoke"),
        ("Fire<br>smoke<br/>ash<br />end", "Fire\nsmoke\nash\nend"),
        ('<a href="https://a.example/x?y=1" rel=nofollow>#<span>fire</span></a> now', "#fire now"),
        ("<P CLASS='x'>Fire</P>", "Fire"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("<blockquote><p>Fire</p></blockquote>", "Fire"),
        ("Fire<!-- hidden -->", "Fire"),
        ("Fire &amp; smoke &lt;3 &#128293; &#x1F525;", "Fire & smoke <3 🔥 🔥"),
        ("&lt;p&gt;Fire&lt;/p&gt;", "Fire"),
        ("&amp;lt;p&amp;gt;Fire &amp;amp; smoke", "Fire & smoke"),
        ("AT&T, Q&A, a&copy=1", "AT&T, Q&A, a&copy=1"),
        ("&notanentity; &#99999999; &;", "&notanentity; &#99999999; &;"),
        ("I <3 this, a < b and c > d, <b and c>", "I <3 this, a < b and c > d, <b and c>"),
        ("<everyone> leave <now>", "<everyone> leave <now>"),
        ("<script>x</script>", "x"),
    ],
)
def test_markup_becomes_plain_text(marked: str, plain: str) -> None:
    assert plain_text(marked) == plain
    assert plain_text(plain) == plain


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_text_without_brackets_and_ampersands_is_kept(text: str) -> None:
    text = text.replace("<", "").replace("&", "")
    assert plain_text(text) == text


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<a",
        "<a ",
        "<a x=y ",
        '<a x="',
        "<a x",
        "<!--",
        "&",
        "&#",
        "&amp;",
        "<p>\n",
        "\n \n",
        "<p",
        "a=b ",
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    text = f"<p>{unit * (200_000 // len(unit))}"
    start = time.process_time()
    plain_text(text)
    assert time.process_time() - start < 2  # it takes .1 s; quadratic time would be minutes
