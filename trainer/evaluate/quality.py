"""Measures a trained model: the figures of each part, operating points, slices and behaviour."""

import msgspec
import numpy as np

from shared.bundle.quality import BALANCED, OperatingPoint, Quality, Subset
from shared.model.scorer import Scorer
from trainer.data.dataset import Dataset
from trainer.data.duplicates import similar_to_any
from trainer.data.slices import KEYWORD, Slice, slices
from trainer.data.split import Parts
from trainer.evaluate.baseline import compare_with_baseline, score_baseline
from trainer.evaluate.behaviour import behaviour
from trainer.evaluate.bootstrap import Scores, draw, measure, reliability
from trainer.evaluate.metrics import Counts, Metrics, Scored, evaluate
from trainer.evaluate.thresholds import operating_points


class HeldOutPart:
    """The test part: its texts, slices, resamples and linear baseline, which all models share."""

    def __init__(self, dataset: Dataset, parts: Parts) -> None:
        self.texts = dataset.texts_of(parts.test)
        seen = dataset.texts_of(parts.train) + dataset.texts_of(parts.validation)
        found = slices(dataset, parts.test, None, similar_to_any(self.texts, seen))
        self.slices: list[Slice] = [one for one in found if one.group != KEYWORD]
        self.counts: Counts = draw(len(parts.test))
        both = np.concatenate([parts.train, parts.validation])
        self.baseline: Scores = score_baseline(dataset, both, parts.test)


class Evaluation(msgspec.Struct, frozen=True):
    """What was measured of a model.

    Attributes:
        threshold: the probability from which on a tweet is relevant: that of `balanced`.
        metrics: part → metric → value.
        test: the model's scores of the test part.
    """

    threshold: float
    metrics: dict[str, Metrics]
    operating_points: dict[str, OperatingPoint]
    quality: Quality
    test: Scores


def evaluate_model(
    scorer: Scorer,
    scored: dict[str, Scored],
    held_out: HeldOutPart,
    *,
    chosen_on: str,
    calibrated: bool,
) -> Evaluation:
    """Measure a model.

    Args:
        scored: labels and probabilities of the parts `train`, `validation` and `test`.
        chosen_on: what the validation part is called by whom it calibrated.
        calibrated: whether the probabilities are.
    """
    chosen_and_test = {chosen_on: scored["validation"], "test": scored["test"]}
    points = operating_points(chosen_on, chosen_and_test, calibrated=calibrated)
    threshold = points[BALANCED].threshold
    labels, probabilities = scored["test"]
    test = Scores(probabilities, threshold)
    return Evaluation(
        threshold,
        {part: evaluate(*of_part, threshold) for part, of_part in scored.items()},
        points,
        Quality(
            chosen_on=chosen_on,
            test=measure(labels, test, held_out.counts),
            reliability={part: reliability(*of_part) for part, of_part in chosen_and_test.items()},
            slices=[
                Subset(
                    one.group,
                    one.name,
                    int(one.rows.sum()),
                    int(labels[one.rows].sum()),
                    measure(
                        labels[one.rows],
                        Scores(probabilities[one.rows], threshold),
                        held_out.counts[:, one.rows],
                    ),
                )
                for one in held_out.slices
            ],
            behaviour=behaviour(scorer, threshold, held_out.texts),
            baseline=compare_with_baseline(labels, test, held_out.baseline, held_out.counts),
        ),
        test,
    )
