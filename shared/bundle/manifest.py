"""Manifest: what a bundle says about itself, to people and to the programs that choose a bundle."""

import msgspec

from shared.bundle.quality import BALANCED, Figure, OperatingPoint, Probability, Quality
from shared.errors import BundleError
from shared.model.architecture import Architecture
from shared.model.calibration import Calibration
from shared.text.lemmas import TextSettings

FORMAT = 1
"""Version of the bundle format."""


class Labelling(msgspec.Struct, frozen=True):
    """How to read a labelled file: its columns, and what its labels mean.

    The defaults are those of the published set "Disasters on Social Media".

    Attributes:
        text_column: name of the column of texts.
        label_column: name of the column of labels.
        positive: labels of relevant tweets.
        negative: labels of the others; empty if only one other label remains.
        leave_out: labels of rows to skip.
    """

    text_column: str = "text"
    label_column: str = "choose_one"
    positive: tuple[str, ...] = ("Relevant",)
    negative: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ("Can't Decide",)


class Base(msgspec.Struct, frozen=True):
    """The bundle whose weights a training started from.

    Attributes:
        digest: SHA-256 of its manifest.
        version: its number in the registry; None if it was read from a folder.
    """

    digest: str
    version: int | None


class Adaptation(msgspec.Struct, frozen=True, kw_only=True):
    """How a bundle learned from labels of one crisis.

    Attributes:
        base: digest of the bundle that learned, which had not learned from labels before.
        version: its number in the registry.
        name: of the labelled file.
        sha256: of labels and texts.
        labels: how many labelled tweets there were.
        relevant: how many of them are relevant.
        keywords: words of the crisis; scores change only for texts that have one. Without keywords,
            they change for all texts.
        coverage: share of the labelled tweets that have a keyword.
        compared_with: digest of the bundle that the figures compare it with.
        compared: how many labelled tweets the figures are of. The other bundle learned none of
            them, and each is scored by an adaptation that did not learn it.
        before: metric → the other bundle's figure with its 95 % interval.
        after: metric → the adapted bundle's figure.
        difference: metric → after minus before, on the same tweets.
        curve: number of labels → metric → figure of an adaptation that learned only so many of
            them.
    """

    base: str
    version: int
    name: str
    sha256: str
    labels: int
    relevant: int
    keywords: list[str]
    coverage: float
    compared_with: str
    compared: int
    before: dict[str, Figure]
    after: dict[str, Figure]
    difference: dict[str, Figure]
    curve: dict[int, dict[str, Figure]] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `manifest.json`.

    Attributes:
        format: version of the bundle format.
        name: the run's name, such as `LSTM`.
        created: the time of its training, ISO 8601 in UTC.
        recipe: name of the recipe.
        seed: the seed of the training.
        git_commit: the commit of the code; None outside a checkout.
        packages: name → version of each package that the figures depend on.
        data: of the labelled file: `name`, `sha256` of the content, and rows of each part.
        threshold: the lowest probability of a relevant tweet.
        metrics: part (`train`, `validation`, `test`) → metric → value.
        epochs: the figures of each epoch, in order: `loss` and `accuracy` during training,
            `val_loss` and `val_accuracy` of the validation part after it.
        files: name → SHA-256 of every file but the manifest.
        operating_points: those that the model reaches, by name; none in bundles of version 0.1.
        quality: other figures of training; None in bundles of version 0.1.
        labelling: how the labelled file was read, and the default for other files.
        languages: of the texts of training, as in a tweet's `lang` (BCP 47).
        adaptation: how it learned from labels of one crisis, or None. If set, `metrics` has only
            the part `labels`, and `data` is what its base was trained on.
        base: what its training started from; None: from random weights.
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
    adaptation: Adaptation | None = None
    base: Base | None = None

    def threshold_at(self, asked: float | str) -> float:
        """Return the lowest probability of a relevant tweet.

        Args:
            asked: a probability, which is returned, or the name of an operating point. The
                threshold of `balanced` is the manifest's.

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
