"""`triage-trainer distill`: asks a teacher about a training part, and writes what it says."""

import argparse
from functools import partial
from itertools import combinations

import numpy as np
from rich.console import Console
from rich.progress import Progress

from shared.errors import UsageError
from trainer.augmentation import VARIANTS, make_variants
from trainer.dataset import cut_test, grouped_folds, read_dataset
from trainer.output import expect_to_write
from trainer.teacher import EPOCHS, Teacher
from trainer.teaching import FOLDS, SEED, Teaching, write_teaching


def distill(arguments: argparse.Namespace, out: Console, err: Console) -> None:
    """Runs the command; on the published set and two cores a small teacher takes half an hour.

    Raises:
        UsageError: if the teacher cannot be loaded.
    """
    with err.status("reading the data"):
        dataset = read_dataset(
            arguments.data, arguments.text_column, arguments.label_column, arguments.positive
        )
        expect_to_write(arguments.out)
        rows, _ = cut_test(dataset)
        folds = grouped_folds(dataset, rows, FOLDS)
        texts = [dataset.texts[row] for row in rows]
        variants = make_variants(texts, folds, SEED)
        agreement = dataset.agreement[rows]
        targets = np.where(dataset.labels[rows] == 1, agreement, 1 - agreement)
    with err.status(f"loading {arguments.teacher}"):
        try:
            teacher = Teacher(arguments.teacher, texts + variants.texts, targets)
        except (OSError, ValueError) as error:
            raise UsageError(f"--teacher {arguments.teacher}: {error}") from error
    count = len(rows)
    fold_of = np.concatenate([folds, np.repeat(folds, VARIANTS)])
    probabilities = np.zeros((FOLDS, count, 1 + VARIANTS), np.float32)
    with Progress(console=err) as progress:
        for number, pair in enumerate(combinations(range(FOLDS), 2)):
            train = np.flatnonzero(~np.isin(folds, pair))
            score = np.flatnonzero(np.isin(fold_of, pair))
            task = progress.add_task(
                f"teacher {number + 1} of {FOLDS * (FOLDS - 1) // 2}",
                total=EPOCHS * len(train) + len(score),
            )
            found = np.zeros(len(fold_of), np.float32)
            found[score] = teacher.teach(train, score, number, partial(progress.advance, task))
            table = np.column_stack([found[:count], found[count:].reshape(count, VARIANTS)])
            for own, other in (pair, pair[::-1]):
                probabilities[other, folds == own] = table[folds == own]
    for fold in range(FOLDS):
        others = np.arange(FOLDS) != fold
        probabilities[fold, folds == fold] = probabilities[others][:, folds == fold].mean(axis=0)
    write_teaching(dataset, Teaching(rows, folds, variants, probabilities), arguments.out)
    own = probabilities[folds, np.arange(count), 0]
    accuracy = float(np.mean((own >= 0.5) == dataset.labels[rows]))
    out.print(
        f"{arguments.out}: on tweets that it did not see, the teacher is right on {accuracy:.1%}"
    )
