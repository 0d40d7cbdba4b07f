"""The report as one self-contained HTML page."""

import base64

import jinja2

from shared.model.occlusion import Word
from trainer.data.duplicates import OVERLAP
from trainer.data.slices import FEWEST, KEYWORD
from trainer.evaluate.metrics import BINS, METRICS, NAMES
from trainer.report.contents import Comparison, Mistake, ModelReport, Report
from trainer.report.plots import Picture

_COMPARED = ("accuracy", "f1", "roc_auc", "average_precision", "brier")


def page(report: Report, pictures: dict[str, list[Picture]]) -> str:
    """Render the page.

    Args:
        pictures: of the sections `ranking`, `confusion` and `learning`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"base64": _base64, "marked": _marked}
    best = max(report.models, key=lambda model: model.figures["roc_auc"].value)
    return environment.get_template("page.html").render(
        report=report,
        pictures=pictures,
        metrics=METRICS,
        compared=_COMPARED,
        names=NAMES,
        best=best,
        behaviours=_like_the_first([model for model in report.models if model.behaviour]),
        beaten=[
            worse
            for better, worse in (_ranked(c, "roc_auc") for c in report.comparisons)
            if better == best.name
        ],
        above_baseline=[
            name
            for name, differences in (
                report.baseline.differences if report.baseline else {}
            ).items()
            if differences["roc_auc"].low > 0
        ],
        keyword=KEYWORD,
        fewest=FEWEST,
        overlap=OVERLAP,
        bins=BINS,
    )


def _like_the_first(models: list[ModelReport]) -> list[ModelReport]:
    """Return the models whose behaviour was tested on the same pairs and changes as the first."""

    def tests(model: ModelReport) -> list[tuple[str, str, int]]:
        return [(one.group, one.kind, one.texts) for one in model.behaviour]

    return [model for model in models if tests(model) == tests(models[0])]


def _ranked(comparison: Comparison, metric: str) -> tuple[str, str]:
    """Return the better and the worse model's names, or "" for both if it may be chance."""
    difference = comparison.differences[metric]
    if difference.low > 0:
        return comparison.first, comparison.second
    if difference.high < 0:
        return comparison.second, comparison.first
    return "", ""


def _base64(picture: Picture) -> str:
    return base64.b64encode(picture.png).decode()


def _marked(mistake: Mistake) -> list[tuple[str, bool]]:
    """Return the text in pieces, each with whether it is a word that drove the mistake."""
    pieces = []
    end = 0
    drivers: list[Word] = sorted(mistake.drivers, key=lambda word: word.start)
    for word in drivers:
        pieces.append((mistake.text[end : word.start], False))
        pieces.append((word.word, True))
        end = word.start + len(word.word)
    return [*pieces, (mistake.text[end:], False)]
