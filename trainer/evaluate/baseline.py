"""The linear baseline: what every network has to beat.

Tf-idf of words and of character n-grams, and logistic regression: some lines of scikit-learn that
train in seconds.
"""

from collections.abc import Sequence

from rich.text import Text
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from shared.bundle.manifest import Manifest
from shared.bundle.quality import Baseline
from trainer.data.dataset import Dataset, Indices
from trainer.data.same_text import normalized_texts
from trainer.evaluate.bootstrap import Scores, measure, measure_difference
from trainer.evaluate.metrics import Counts, Labels, Metrics

NAME = "linear baseline"

_THRESHOLD = 0.5


def score_baseline(dataset: Dataset, seen: Indices, rows: Indices) -> Scores:
    """Fit the baseline on some rows and score others.

    On the test part of the published set it reaches ROC AUC .868 and accuracy .809; with words
    alone, .854 and .799. `C` is scikit-learn's default.
    """
    model = make_pipeline(
        make_union(
            TfidfVectorizer(sublinear_tf=True),
            TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5)),
        ),
        LogisticRegression(solver="liblinear"),
    )
    model.fit(normalized_texts(dataset.texts_of(seen)), dataset.labels[seen])
    probabilities = model.predict_proba(normalized_texts(dataset.texts_of(rows)))[:, 1]
    return Scores(probabilities.astype("float32"), _THRESHOLD)


def compare_with_baseline(
    labels: Labels, scores: Scores, baseline: Scores, counts: Counts
) -> Baseline:
    """Measure the baseline, and how much better a model is on the same rows.

    Args:
        labels: int8, shape (rows,), 1 for relevant.
        counts: as `trainer.evaluate.bootstrap.draw` gives them, for these rows.
    """
    return Baseline(
        measure(labels, baseline, counts), measure_difference(labels, scores, baseline, counts)
    )


def baseline_row(manifests: Sequence[Manifest]) -> list[tuple[str, str, Metrics]]:
    """Return the baseline as a row of `trainer.evaluate.metrics.comparison`, if there is one."""
    for manifest in manifests:
        if manifest.quality and manifest.quality.baseline:
            figures = manifest.quality.baseline.figures
            return [(NAME, "test", {metric: one.value for metric, one in figures.items()})]
    return []


def verdict(baselines: Sequence[tuple[str, Baseline]]) -> Text:
    """Say which models rank significantly better than the baseline.

    Args:
        baselines: names of models, and how each compares.
    """
    better = [name for name, one in baselines if one.is_beaten]
    if better:
        return Text(f"Significantly better than the {NAME} by ROC AUC: {', '.join(better)}.")
    return Text(
        f"No model is significantly better than the {NAME} by ROC AUC: label more tweets, or start "
        "from a model that was trained on many."
    )
