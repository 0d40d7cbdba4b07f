"""Quality: everything that training finds out about a model for its bundle's manifest."""

from shared.quality import Quality
from shared.scorer import Scorer
from trainer.behaviour import behaviour
from trainer.dataset import Dataset, Parts


def measure_quality(scorer: Scorer, threshold: float, dataset: Dataset, parts: Parts) -> Quality:
    """Measures a model on the test part, and puts its behaviour to the test.

    Args:
        threshold: that the bundle will have.
    """
    texts = [dataset.texts[row] for row in parts.test]
    return Quality(behaviour=behaviour(scorer, threshold, texts))
