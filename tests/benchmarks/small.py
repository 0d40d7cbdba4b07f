"""How good models of some hundred tweets are: ROC AUC by network, over samples.

    python -m tests.benchmarks.small [--samples 10] [--data FILE]

The protocol: a sample is 600 tweets of the published set, stratified by label, and 3,000 others are
its test. `triage-trainer train` gets the sample's texts and labels as a file and nothing else, so
it chooses the recipe. It trains on about 420 of the 600 and measures on the rest, which this page
does not use. The sample is not the published set to `train`, so it gets no shipped soft labels.

No test tweet is trained, calibrated or selected on. The published set has copies of tweets that
differ in links or mentions, so a few test tweets repeat a tweet of the sample. The second column
leaves these out.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from shared.arrays import Floats
from shared.bundle.load import load_bundle
from tests.conftest import ROOT
from trainer.data.dataset import Dataset, Indices, write_rows
from trainer.data.read import read_dataset
from trainer.data.same_text import group_copies, normalized_texts
from trainer.data.split import cut_test
from trainer.evaluate.baseline import NAME, score_baseline
from trainer.evaluate.metrics import Metrics, evaluate

SAMPLE, TEST = 600, 3000
FIGURES = ("roc_auc", "without_copies", "calibration_error", "accuracy")
_PUBLISHED = ROOT.parent / "shared" / "data" / "socialmedia-disaster-tweets-DFE.csv"


def draw_sample(dataset: Dataset, number: int) -> tuple[Indices, Indices]:
    """Return the rows of a sample, and those of its test."""
    sample, test = train_test_split(
        np.arange(len(dataset.labels)),
        train_size=SAMPLE,
        test_size=TEST,
        stratify=dataset.labels,
        random_state=number,
    )
    return sample, test


def train(dataset: Dataset, sample: Indices, folder: Path) -> float:
    """Train on a sample, as people do, and return the CPU seconds that it took."""
    data = folder / "sample.csv"
    write_rows(dataset, sample, data)
    given = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "trainer.cli", "train", "--data", data, "--bundles", folder / "all"],
        env=given | {"TRIAGE_REGISTRY": f"file:{folder / 'registry'}"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def score_words(dataset: Dataset, seen: Indices, rows: Indices) -> Floats:
    """Fit logistic regression on tf-idf of words, and score other rows."""
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression())
    model.fit(normalized_texts(dataset.texts_of(seen)), dataset.labels[seen])
    scores: Floats = model.predict_proba(normalized_texts(dataset.texts_of(rows)))[:, 1]
    return scores


def measure_sample(dataset: Dataset, number: int) -> tuple[dict[str, Metrics], float]:
    """Return the figures of each model on a sample's test, and the CPU seconds of the training."""
    sample, test = draw_sample(dataset, number)
    labels, texts = dataset.labels[test], dataset.texts_of(test)
    groups = group_copies(dataset.texts)
    others = ~np.isin(groups[test], groups[sample])
    scores = {}
    with tempfile.TemporaryDirectory() as name:
        seconds = train(dataset, sample, Path(name))
        trained = read_dataset(Path(name) / "sample.csv")
        seen = sample[cut_test(trained)[0]]  # the file has the sample's order
        scores["tf-idf of words"] = (score_words(dataset, seen, test), 0.5)
        linear = score_baseline(dataset, seen, test)
        scores[NAME] = (linear.probabilities, linear.threshold)
        for path in sorted((Path(name) / "all").iterdir()):
            bundle = load_bundle(path)
            scores[path.name] = (bundle.scorer.score(texts), bundle.manifest.threshold)
    figures = {}
    for model, (probabilities, threshold) in scores.items():
        figures[model] = evaluate(labels, probabilities, threshold)
        area = roc_auc_score(labels[others], probabilities[others])
        figures[model]["without_copies"] = float(area)
    return figures, seconds


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--data", type=Path, default=_PUBLISHED, help="the published set")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        parser.error(f"--data {arguments.data}: no such file; expected the published data set")
    dataset = read_dataset(arguments.data)
    found: dict[str, list[Metrics]] = defaultdict(list)
    seconds = []
    for number in range(arguments.samples):
        figures, taken = measure_sample(dataset, number)
        seconds.append(taken)
        for model, one in figures.items():
            found[model].append(one)
        areas = ", ".join(f"{model} {one['roc_auc']:.4f}" for model, one in figures.items())
        print(f"sample {number}: {areas}; {taken:.0f} CPU s", file=sys.stderr, flush=True)
    print(f"| | {' | '.join(FIGURES)} |\n| --- |{' --- |' * len(FIGURES)}")
    for model, ones in found.items():
        values = np.array([[one[figure] for figure in FIGURES] for one in ones])
        cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
        print(f"| {model} | {' | '.join(f'{mean:.4f} ± {std:.4f}' for mean, std in cells)} |")
    print(f"\nCPU seconds of a training of all models: {np.mean(seconds):.0f}")


if __name__ == "__main__":
    main()
