"""Well-known labelled files: the options to read them, as advice in errors."""

from collections.abc import Collection

_INFORMATIVENESS = (
    "--text-column 'Tweet Text' --label-column Informativeness "
    "--positive 'Related and informative' --negative 'Related - but not informative' "
    "--negative 'Not related' --leave-out 'Not applicable'"
)
_KNOWN = (
    ({"Tweet Text", "Informativeness"}, "CrisisLexT26", _INFORMATIVENESS),
    (
        {"tweet id", "tweet", "label"},
        "CrisisLexT6",
        "--text-column tweet --label-column label --positive on-topic",
    ),
    (
        {"tweet_text", "label_text", "label"},
        "CrisisMMD",
        "--text-column tweet_text --label-column label --positive informative",
    ),
    (
        {"tweet_text", "text_info"},
        "CrisisMMD (version 1)",
        "--text-column tweet_text --label-column text_info --positive informative",
    ),
    (
        {"tweet_text", "class_label"},
        "HumAID or CrisisBench",
        "--text-column tweet_text --label-column class_label --positive … --negative …",
    ),
    (
        {"keyword", "location", "text", "target"},
        "Kaggle's train.csv",
        "--label-column target --positive 1",
    ),
    ({"_input_hash", "options", "accept"}, "Prodigy", "--label-column accept --positive …"),
    ({"_input_hash", "label"}, "Prodigy", "--label-column label --positive …, the label's name"),
    (
        {"annotator", "annotation_id", "lead_time"},
        "Label Studio",
        "--label-column …, the control's name, such as choice or sentiment",
    ),
    ({"text", "target"}, "", "--label-column target"),
    ({"text", "label"}, "", "--label-column label"),
    ({"text", "labels"}, "", "--label-column labels"),
)


def advice(columns: Collection[str]) -> str:
    """Return how to read a file with these columns, as the end of a message, or ""."""
    there = set(columns)
    for needed, name, options in _KNOWN:
        if needed <= there:
            looks = f"it looks like {name}: " if name else ""
            return f"; {looks}try {options}"
    if {"id", "keyword", "location", "text"} == there:
        return "; it looks like Kaggle's test.csv, which has no labels: use train.csv"
    if {"text", "annotations"} <= there:
        return "; it looks like doccano's old JSON: export JSONL with the labels' names"
    return ""
