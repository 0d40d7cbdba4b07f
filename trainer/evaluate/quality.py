"""Quality: what training finds out about a model beside the figures of each part."""

from shared.bundle.quality import Quality, Subset
from shared.model.architecture import Floats
from shared.model.scorer import Scorer
from trainer.data.dataset import Dataset
from trainer.data.duplicates import similar_to_any
from trainer.data.slices import KEYWORD, Slice, slices
from trainer.data.split import Parts
from trainer.evaluate.behaviour import behaviour
from trainer.evaluate.bootstrap import Scores, draw, measure, reliability
from trainer.evaluate.metrics import Counts, Labels

Scored = tuple[Labels, Floats]
"""Labels and probabilities of the same rows."""


class HeldOutPart:
    """The test part: which of its rows to look at, and how often to draw them."""

    def __init__(self, dataset: Dataset, parts: Parts) -> None:
        self.texts = dataset.texts_of(parts.test)
        seen = dataset.texts_of(parts.train) + dataset.texts_of(parts.validation)
        found = slices(dataset, parts.test, None, similar_to_any(self.texts, seen))
        self.slices: list[Slice] = [one for one in found if one.group != KEYWORD]
        self.counts: Counts = draw(len(parts.test))


def measure_quality(
    scorer: Scorer,
    threshold: float,
    held_out: HeldOutPart,
    chosen_on: str,
    scored: dict[str, Scored],
    groups: list[Subset],
) -> Quality:
    """Measures a model on the test part, and puts its behaviour to the test.

    Args:
        threshold: that the bundle will have.
        chosen_on: the part by which the model was calibrated.
        scored: by the parts' names, that one and `test`.
        groups: as `trainer.evaluate.groups` gives them.
    """
    labels, probabilities = scored["test"]
    return Quality(
        chosen_on=chosen_on,
        test=measure(labels, Scores(probabilities, threshold), held_out.counts),
        reliability={part: reliability(*scored[part]) for part in (chosen_on, "test")},
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
        groups=groups,
    )
