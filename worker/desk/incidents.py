"""Incidents: groups of alerts of the same news, such as retweets, copies and rewordings.

An alert joins the incident whose representatives resemble its text most, or starts a new one.
MinHash with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3) finds candidates, and the words that two texts share decide.
"""

import functools
import re
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
from datasketch import MinHash, MinHashLSH
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

_PERMUTATIONS = 63
_BANDS = 21
_ROWS = 3
"""Two texts are compared with probability 1 - (1 - s**3)**21, where s is the share of words that
they have in common: .15 at s = .2, .94 at s = .5."""
_REPRESENTATIVES = 4
"""Texts of an incident that new alerts are compared with."""
_MERGE = 0.2
"""An alert merges two incidents if its likeness to both exceeds the setting by this much."""
_SWAPPED_NAME = 0.5
"""Deduction from the likeness for another name: the same words about another town are other
news."""
_FEW_WORDS = 4
_LONGEST_TEXT = 2000
_MOST_WORDS = 64
_LONGEST_WORD = 32

_NOISE = re.compile(r"https?:?/*\S*|\bht{1,2}p?s?…|\bRT\b|@\w+|&\w+;", re.IGNORECASE)
_WORD = re.compile(r"#?\w+(?:['’.,]\w+)*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]")
"""Letters of languages that put no spaces between words: Thai, Lao, Burmese, Japanese, Chinese."""
_FILLER_WORDS = """
a about all an and are as at be been but by did do does for from get got had has have he her here
him his how i if in is it its just me more my no not now of on or our out rt she so than that the
their them there they this to up us via was we were what who will with you your
"""
_FILLERS = frozenset(_FILLER_WORDS.split())


class Text(msgspec.Struct, frozen=True):
    """The parts of a text that are compared.

    Attributes:
        words: lower case, in order; without links, mentions and marks of retweets.
        joined: the words sorted, as one string.
        content: the words without stop words, or all words if nothing else is left.
        names: words inside the text that begin with a capital.
    """

    words: tuple[str, ...]
    joined: str
    content: frozenset[str]
    names: frozenset[str]


class Placement(msgspec.Struct, frozen=True):
    """Where an alert belongs.

    Attributes:
        incident: its number.
        merged: other incidents that the alert has merged into this one.
        representative: whether later alerts are compared with this one.
    """

    incident: int
    merged: tuple[int, ...] = ()
    representative: bool = False


class _Incident(msgspec.Struct):
    last: float
    representatives: list[int]


class Incidents:
    """Assigns alerts to incidents, one at a time; the same order gives the same incidents.

    Memory is bounded: an incident is forgotten when no alert has joined it for the window. If there
    are more than `most`, the one without alerts for longest is forgotten. An incident takes about
    10 kB.

    Args:
        window: seconds.
        likeness: from 0 (all alerts are one incident) to 1 (only alerts with the same words are).
        most: incidents that are remembered.
    """

    def __init__(
        self,
        window: float = 6 * 3600,
        likeness: float = 0.5,
        most: int = 5_000,
    ) -> None:
        self.window, self.most = window, most
        self._likeness = likeness
        self._next_incident = 1
        self._next_representative = 0
        self._now = float("-inf")
        self._incidents: OrderedDict[int, _Incident] = OrderedDict()  # by time of the last alert
        self._representatives: dict[int, tuple[int, Text]] = {}
        self._same_words: dict[str, int] = {}  # joined words → a representative
        self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
        self._empty = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)

    def __len__(self) -> int:
        return len(self._incidents)

    def __contains__(self, number: int) -> bool:
        return number in self._incidents

    def add(self, text: str, time: float) -> Placement:
        """Assign an alert to an incident.

        Args:
            time: of the alert, in seconds. The window ends at the latest one so far.
        """
        self._now = max(self._now, time)
        self._forget()
        compared = read_text(text)
        same = self._same_words.get(compared.joined)
        if same is not None:
            number = self._representatives[same][0]
            self._touch(number, time)
            return Placement(number)

        sketch = self._empty.copy()
        sketch.update_batch(list(compared.content))
        found: dict[int, float] = {}
        for key in sorted(self._index.query(sketch)):
            number, other = self._representatives[key]
            found[number] = max(found.get(number, 0.0), alike(compared, other, self._likeness))
        number = max(found, key=lambda n: (found[n], -n), default=0)
        if not found or found[number] < self._likeness:
            number = self._next_incident
            self._next_incident += 1
            self._incidents[number] = _Incident(time, [])
            merged: Sequence[int] = ()
        else:
            surely = self._likeness + _MERGE
            group = sorted(n for n in found if found[n] >= surely)
            if len(group) > 1:
                number, *merged = group
                for other_number in merged:
                    self._merge(other_number, number)
            else:
                merged = ()
        self._touch(number, time)
        representative = len(self._incidents[number].representatives) < _REPRESENTATIVES
        if representative:
            self._represent(number, compared, sketch)
        return Placement(number, tuple(merged), representative)

    def start_at(self, number: int) -> None:
        """Start the numbers of new incidents here, so that earlier numbers are not reused."""
        self._next_incident = max(self._next_incident, number)

    def restore(self, number: int, last: float, representatives: Sequence[str]) -> None:
        """Restore an incident of an earlier process. Call it in order of the last alert.

        Args:
            last: the time of its last alert, in seconds.
            representatives: texts of its representatives, in their order.
        """
        self._now = max(self._now, last)
        self._incidents[number] = _Incident(last, [])
        for text in representatives:
            compared = read_text(text)
            sketch = self._empty.copy()
            sketch.update_batch(list(compared.content))
            self._represent(number, compared, sketch)
        self._next_incident = max(self._next_incident, number + 1)
        self._forget()

    def _represent(self, number: int, text: Text, sketch: Any) -> None:
        key = self._next_representative
        self._next_representative += 1
        self._representatives[key] = (number, text)
        self._incidents[number].representatives.append(key)
        self._same_words.setdefault(text.joined, key)
        self._index.insert(key, sketch, check_duplication=False)

    def _touch(self, number: int, time: float) -> None:
        incident = self._incidents[number]
        incident.last = max(incident.last, time)
        self._incidents.move_to_end(number)

    def _merge(self, number: int, into: int) -> None:
        gone = self._incidents.pop(number)
        incident = self._incidents[into]
        incident.last = max(incident.last, gone.last)
        incident.representatives += gone.representatives
        for key in gone.representatives:
            self._representatives[key] = (into, self._representatives[key][1])

    def _forget(self) -> None:
        """Forget incidents that were quiet for the window, and the quietest beyond `most`."""
        while self._incidents:
            number, incident = next(iter(self._incidents.items()))
            if incident.last >= self._now - self.window and len(self._incidents) <= self.most:
                return
            del self._incidents[number]
            for key in incident.representatives:
                text = self._representatives.pop(key)[1]
                if self._same_words.get(text.joined) == key:
                    del self._same_words[text.joined]
                self._index.remove(key)


def read_text(text: str) -> Text:
    """Return the words of a text that are compared."""
    text = text[:_LONGEST_TEXT]
    found = [word[:_LONGEST_WORD] for word in _WORD.findall(_NOISE.sub(" ", text))]
    if _UNSPACED.search(text):
        found = [part for word in found for part in _parts(word)]
    del found[_MOST_WORDS:]
    if not found:  # only links, mentions or signs: compare the whole text
        found = [text.strip()]
    words = tuple(word.lower().lstrip("#") for word in found)
    shouted = 2 * sum(word.isupper() for word in found) > len(found)
    names = frozenset(
        ()
        if shouted
        else (
            word
            for word, written in zip(words[1:], found[1:], strict=True)
            if written[0].isupper() and word not in _FILLERS
        )
    )
    content = frozenset(words) - _FILLERS or frozenset(words)
    return Text(words, " ".join(sorted(words)), content, names)


def alike(one: Text, other: Text, likeness: float) -> float:
    """Return how alike two texts are, from 0 to 1.

    It is the mean of the Jaccard index and the overlap coefficient of their words, so a text that
    was truncated or commented on still resembles its source.

    Args:
        likeness: names are compared only for texts with at least this likeness.
    """
    fewest = min(len(one.content), len(other.content))
    if fewest < _FEW_WORDS:
        value = fuzz.ratio(one.joined, other.joined) / 100
    else:
        shared = len(one.content & other.content)
        every = len(one.content) + len(other.content) - shared
        value = (shared / every + shared / fewest) / 2
    if value >= likeness and _name_swapped(one, other):
        value -= _SWAPPED_NAME
    return value


def _name_swapped(one: Text, other: Text) -> bool:
    """Return whether one text has another name than the other text in the same place."""
    left, right = one.names - other.content, other.names - one.content
    if not left or not right:
        return False
    for change in Levenshtein.opcodes(one.words, other.words):
        if change.tag != "replace":
            continue
        before = one.words[change.src_start : change.src_end]
        after = other.words[change.dest_start : change.dest_end]
        for was, now in zip(before, after, strict=False):
            if was in left and now in right and fuzz.ratio(was, now) < 65:
                return True
    return False


def _parts(word: str) -> Sequence[str]:
    """Split a word of a language without spaces into pairs of neighbouring letters."""
    if len(word) < 3 or not _UNSPACED.search(word):
        return (word,)
    return [word[n : n + 2] for n in range(len(word) - 1)]


@functools.lru_cache(1 << 16)
def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
