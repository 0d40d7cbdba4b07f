"""How good the tuned recipe is, over several seeds: what README's table shows.

    uv run triage-trainer train --data FILE --bundles FOLDER
    uv run python -m tests.trainer.seeds --data FILE --bundles FOLDER

The bundles of the first command are the first seed's, with calibration and threshold for all: these
depend on out-of-fold predictions, which take four fits each. The others are fitted once.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from shared.bundle.load import load_bundle
from trainer.data.read import read_dataset
from trainer.data.same_text import normalized_hashes
from trainer.data.split import cut_test
from trainer.distill.simple_teacher import find_soft_labels
from trainer.evaluate.metrics import Metrics, evaluate
from trainer.fit.corpus import Corpus
from trainer.fit.loop import Fitter
from trainer.fit.recipes import load_recipe

METRICS = ("accuracy", "f1", "roc_auc", "calibration_error", "unanimous", "without duplicates")


def main() -> None:
    program = argparse.ArgumentParser(prog="python -m tests.trainer.seeds")
    program.add_argument("--data", type=Path, required=True)
    program.add_argument("--bundles", type=Path, required=True)
    program.add_argument("--more", type=int, default=4, help="seeds; default: %(default)s")
    program.add_argument("--json", type=Path)
    arguments = program.parse_args()

    recipe = load_recipe("tuned")
    dataset = read_dataset(arguments.data)
    corpus = Corpus(recipe, dataset, find_soft_labels(recipe, dataset))
    training, test = cut_test(dataset)
    labels = dataset.labels[test]
    hashes = normalized_hashes(dataset.texts)
    unanimous = dataset.agreement[test] == 1
    new = ~np.isin(hashes[test], hashes[training])

    found: dict[str, list[Metrics]] = {}
    for name in recipe.models:
        first = load_bundle(arguments.bundles / name)
        fitter = Fitter(name, recipe, corpus)
        threshold = first.manifest.threshold
        for more in range(1 + arguments.more):
            seed = first.manifest.seed + more
            scorer = fitter.fit(training, seed).scorer if more else first.scorer
            scorer.calibration = first.manifest.calibration
            probabilities = scorer.score(dataset.texts_of(test))
            figures = evaluate(labels, probabilities, threshold)
            right = (probabilities >= threshold) == labels
            figures["unanimous"] = float(right[unanimous].mean())
            figures["without duplicates"] = float(right[new].mean())
            found.setdefault(name, []).append(figures)
            shown = "  ".join(f"{metric} {figures[metric]:.4f}" for metric in METRICS)
            print(f"{name} {seed}: {shown}", flush=True)
    for name, seeds in found.items():
        print(f"\n{name}, mean and standard deviation over {len(seeds)} seeds:")
        for metric in METRICS:
            values = [figures[metric] for figures in seeds]
            print(f"  {metric:20} {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
