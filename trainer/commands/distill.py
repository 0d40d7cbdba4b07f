"""`triage-trainer distill`: makes soft labels of a training part with teachers."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shared.command_line import Count
from shared.errors import UsageError
from trainer.commands.options import ContextGiven, LabelledData
from trainer.commands.output import expect_outcome


def distill(
    *,
    labelled: LabelledData,
    teacher: Annotated[list[str], Parameter(metavar="NAME|FOLDER")],
    rounds: Count = 1,
    out: Annotated[Path, Parameter(metavar="FILE")] = Path("soft_labels.safetensors"),
    context: ContextGiven,
) -> None:
    """Fine-tune transformers on the training part and write their soft labels for `train`.

    Needs the extra `distill`. A round of a small teacher on the published data set takes about an
    hour of a CPU.

    For example:

        $ triage-trainer distill --data tweets.csv --teacher ./all-MiniLM-L6-v2
        $ triage-trainer train --data tweets.csv --soft-labels soft_labels.safetensors

    Args:
        teacher: A model as the package `transformers` loads it; repeat the option for more models.
        rounds: How often each model is fine-tuned anew.
        out: The file to write, for `train --soft-labels`.

    Raises:
        DataError: if the rows are too few, or too much alike, for both labels in every part.
        UsageError: if a teacher cannot be loaded, or if the outcome would replace the data.
    """
    import numpy as np
    from rich.progress import Progress

    from shared.arrays import Floats
    from trainer.data.dataset import Indices, soft_targets
    from trainer.data.split import Parts, cut_test, expect_both_labels, grouped_folds
    from trainer.distill.augment import LABELLED, make_variants
    from trainer.distill.soft_labels import (
        FOLDS,
        HELD_OUT,
        SEED,
        SoftLabels,
        ask_teachers,
        write_soft_labels,
    )
    from trainer.distill.teacher import EPOCHS, Teacher

    err = context.err
    with err.status("reading the data"):
        dataset = labelled.read(err)
        expect_outcome(out, labelled.paths)
        rows, test = cut_test(dataset)
        folds = grouped_folds(dataset, rows, FOLDS)
        # Fail early on data that `train` would refuse.
        expect_both_labels(dataset, Parts(rows[folds != 0], rows[folds == 0], test))
        texts = dataset.texts_of(rows)
        variants = make_variants(texts, folds, SEED)
        targets = soft_targets(dataset, rows)
    teachers = []
    for name in teacher:
        with err.status(f"loading {name}"):
            try:
                teachers.append(Teacher(name, texts + variants.labelled, targets))
            except (OSError, ValueError) as error:
                raise UsageError(f"--teacher {name}: {error}") from error
    fits = rounds * len(teachers) * len(HELD_OUT)
    probabilities = np.zeros((FOLDS, len(rows), 1 + LABELLED), np.float32)
    with Progress(console=err) as progress:

        def teach(
            model: Teacher, first_seed: int, train: Indices, score: Indices, number: int
        ) -> Floats:
            task = progress.add_task(
                f"teacher {len(progress.tasks) + 1} of {fits}",
                total=EPOCHS * len(train) + len(score),
            )
            seed = first_seed + number
            return model.teach(train, score, seed, partial(progress.advance, task))

        for round_number in range(rounds):
            for model in teachers:
                probabilities += ask_teachers(folds, partial(teach, model, 100 * round_number))
    probabilities /= rounds * len(teachers)
    write_soft_labels(dataset, SoftLabels(rows, folds, variants, probabilities), out)
    own = probabilities[folds, np.arange(len(rows)), 0]
    accuracy = float(np.mean((own >= 0.5) == dataset.labels[rows]))
    context.out.print(
        f"{out}: on tweets that they did not see, the teachers are right on {accuracy:.1%}"
    )
