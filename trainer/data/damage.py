"""Damaged texts: not one post each, although the file is well-formed. A model would learn from
them."""

import csv
from collections.abc import Collection, Iterator, Sequence

LONGEST = 25_000
"""Characters of the longest post that a network allows, which is X's for subscribers."""

_EXCEL_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#N/A", "#DIV/0!", "#NULL!", "#NUM!")
_MOST_LABELS = 100  # a column with more values is not one of labels


def find_damage(
    texts: Sequence[str],
    labels: Sequence[str],
    delimiter: str,
    width: int,
    text_index: int,
    label_index: int,
) -> Iterator[tuple[int, str]]:
    """Yield the rows whose text is damaged, and what is wrong with it.

    Args:
        texts: one a row.
        labels: one a row, without blanks around them.
        delimiter: between the fields of a record.
        width: number of columns.
        text_index: of the column of texts.
        label_index: of the column of labels.
    """
    pairs = zip(texts, labels, strict=True)
    known = {label for text, label in pairs if label and "\n" not in text}
    if len(known) > _MOST_LABELS:
        known = set()
    for row, text in enumerate(texts):
        if len(text) > LONGEST:
            yield row, f"a text of {len(text)} characters, which no post has"
        elif text.strip() in _EXCEL_ERRORS:
            yield row, "an error of Excel instead of a text, as of a text that begins with = or -"
        elif "\n" in text or "\r" in text:
            lines = _count_records(text, delimiter, width, text_index, label_index, known)
            if lines:
                yield (
                    row,
                    f"a text of {len(text)} characters that contains other records; is a "
                    "quote not closed?",
                )


def _count_records(
    text: str,
    delimiter: str,
    width: int,
    text_index: int,
    label_index: int,
    known: Collection[str],
) -> int:
    """Count the lines of a text that end or are a record, with a label that other rows have.

    A single line that ends in a number, such as the score of a match, may be a post's own.
    """
    lines = text.splitlines()
    found = []
    for number, fields in enumerate(csv.reader(lines, delimiter=delimiter)):
        missing = text_index if number == 0 else 0  # fields before the text
        if len(fields) == width - missing and label_index >= missing:
            label = fields[label_index - missing].strip()
        elif number and len(fields) == text_index + 1 and label_index < text_index:
            label = fields[label_index].strip()  # of the record that the end of the text comes from
        else:
            continue
        if label in known:
            found.append(label)
    if len(found) == 1 and found[0].isdecimal() and width < 3:
        return 0
    return len(found)
