"""Manifest: what a bundle says about itself, to people and to the programs that choose a bundle."""

import msgspec

from shared.bundle.quality import BALANCED, OperatingPoint, Probability, Quality
from shared.errors import BundleError
from shared.model.architecture import Architecture
from shared.model.calibration import Calibration
from shared.text.lemmas import TextSettings

FORMAT = 1
"""Version of the bundle format."""


class Labelling(msgspec.Struct, frozen=True):
    """Where a labelled file has its texts and labels, and what the labels mean.

    The defaults are those of the published set "Disasters on Social Media".

    Attributes:
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        positive: labels of relevant tweets.
        negative: labels of the others; none where that is the one label which is left.
        leave_out: labels of rows that are not used.
    """

    text_column: str = "text"
    label_column: str = "choose_one"
    positive: tuple[str, ...] = ("Relevant",)
    negative: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ("Can't Decide",)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` says.

    Attributes:
        format: of the bundle; another one is refused.
        name: the run's name, such as `LSTM`.
        created: when, ISO 8601 in UTC.
        recipe: its name.
        seed: of the training.
        git_commit: of the code, or None outside a checkout.
        packages: name → version of what the figures depend on.
        data: `name`, `sha256` of the content, and rows of each part of the labelled file.
        threshold: probability from which on a tweet is relevant.
        metrics: part (`train`, `validation`, `test`) → metric → value.
        epochs: loss and accuracy of each epoch of training, in order: `loss`, `accuracy` while it
            trained, `val_loss`, `val_accuracy` of the validation part behind it.
        files: name → SHA-256, of every file but the manifest.
        operating_points: by name, those that the model reaches; bundles of version 0.1 have none.
        quality: what else training found out; None for bundles of version 0.1.
        labelling: how the labelled file was read; the default for other labelled files.
        languages: of the texts that it was trained on, as in a tweet's `lang` (BCP 47).
    """

    format: int
    name: str
    created: str
    recipe: str
    seed: int
    git_commit: str | None
    packages: dict[str, str]
    data: dict[str, str | int]
    text: TextSettings
    architecture: Architecture
    calibration: Calibration
    threshold: Probability
    metrics: dict[str, dict[str, float]]
    files: dict[str, str]
    epochs: list[dict[str, float]] = []
    operating_points: dict[str, OperatingPoint] = {}
    quality: Quality | None = None
    labelling: Labelling = Labelling()
    languages: tuple[str, ...] = ("en",)

    def threshold_at(self, asked: float | str) -> float:
        """The probability from which on a tweet is relevant.

        Args:
            asked: a probability, which is taken as it is, or an operating point's name; the
                manifest's own threshold is that of `balanced`.

        Raises:
            BundleError: if the model has no operating point of this name.
        """
        if isinstance(asked, float):
            return asked
        points: dict[str, float] = {BALANCED: self.threshold}
        points |= {name: point.threshold for name, point in self.operating_points.items()}
        if asked not in points:
            raise BundleError(
                f"threshold {asked!r}: {self.name} of {self.created} does not reach it; "
                f"expected {', '.join(sorted(points))}, or a number between 0 and 1"
            )
        return points[asked]
