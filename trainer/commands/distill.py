"""`triage-trainer distill`: asks teachers about a training part, and writes what they say."""

import argparse
from functools import partial
from itertools import combinations

import numpy as np
from rich.console import Console
from rich.progress import Progress

from shared.errors import UsageError
from trainer.commands.output import expect_outcome
from trainer.data.read import (
    Parts,
    cut_test,
    expect_both_labels,
    grouped_folds,
    read_asked,
    soft_targets,
)
from trainer.distill.augment import TAUGHT, make_variants
from trainer.distill.soft_labels import FOLDS, SEED, Teaching, write_teaching
from trainer.distill.teacher import EPOCHS, Teacher

_HELD_OUT = (*combinations(range(FOLDS), 2), *combinations(range(FOLDS), 1))
"""The folds that a teacher is not trained on, and is then asked about."""


def distill(arguments: argparse.Namespace, out: Console, err: Console) -> None:
    """Runs the command; a round of a small teacher on the published set is about a CPU hour.

    Raises:
        DataError: if the rows are too few, or too much alike, for both labels in every part.
        UsageError: if a teacher cannot be loaded, or none is to be fine-tuned, or if the outcome
            would replace the data.
    """
    if arguments.rounds < 1:
        raise UsageError(f"--rounds {arguments.rounds}: expected 1 or more")
    with err.status("reading the data"):
        dataset = read_asked(arguments)
        expect_outcome(arguments.out, arguments.data)
        rows, test = cut_test(dataset)
        folds = grouped_folds(dataset, rows, FOLDS)
        # What cannot be trained on afterwards is not worth hours.
        expect_both_labels(dataset, Parts(rows[folds != 0], rows[folds == 0], test))
        texts = dataset.texts_of(rows)
        variants = make_variants(texts, folds, SEED)
        targets = soft_targets(dataset, rows)
    teachers = []
    for name in arguments.teacher:
        with err.status(f"loading {name}"):
            try:
                teachers.append(Teacher(name, texts + variants.taught, targets))
            except (OSError, ValueError) as error:
                raise UsageError(f"--teacher {name}: {error}") from error
    count = len(rows)
    fold_of = np.concatenate([folds, np.repeat(folds, TAUGHT)])
    total = np.zeros((FOLDS, count, 1 + TAUGHT), np.float32)
    lessons = [
        (teacher, 100 * number + place, held_out)
        for number in range(arguments.rounds)
        for teacher in teachers
        for place, held_out in enumerate(_HELD_OUT)
    ]
    with Progress(console=err) as progress:
        for number, (teacher, seed, held_out) in enumerate(lessons):
            train = np.flatnonzero(~np.isin(folds, held_out))
            score = np.flatnonzero(np.isin(fold_of, held_out))
            task = progress.add_task(
                f"teacher {number + 1} of {len(lessons)}", total=EPOCHS * len(train) + len(score)
            )
            found = np.zeros(len(fold_of), np.float32)
            found[score] = teacher.teach(train, score, seed, partial(progress.advance, task))
            table = np.column_stack([found[:count], found[count:].reshape(count, TAUGHT)])
            for own, other in zip(held_out, held_out[::-1], strict=True):
                total[other, folds == own] += table[folds == own]
    probabilities = total * np.float32(len(_HELD_OUT) / len(lessons))
    write_teaching(dataset, Teaching(rows, folds, variants, probabilities), arguments.out)
    own = probabilities[folds, np.arange(count), 0]
    accuracy = float(np.mean((own >= 0.5) == dataset.labels[rows]))
    out.print(
        f"{arguments.out}: on tweets that they did not see, the teachers are right on "
        f"{accuracy:.1%}"
    )
