"""Model card: a page about a model for its users, made from its manifest."""

import jinja2

from shared.bundle.manifest import Manifest
from shared.bundle.quality import OPERATING_POINTS, Figure
from trainer.data.dataset import PUBLISHED
from trainer.evaluate.metrics import NAMES


def model_card(manifest: Manifest) -> str:
    """Return the card in Markdown.

    After Mitchell et al., "Model cards for model reporting", 2019.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.report", "."),
        autoescape=False,  # noqa: S701  # it is Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "code": lambda text: f"`{_plain(text)}`",
        "cell": _plain,
        "words": lambda metric: NAMES[metric],
        "three": lambda value: f"{value:.3f}",
        "interval": _interval,
        "signed": lambda figure: _interval(figure, "+"),
    }
    quality = manifest.quality
    weakest = min(quality.behaviour.pairs, key=lambda pairs: pairs.accuracy) if quality else None
    return environment.get_template("model_card.md").render(
        manifest=manifest,
        quality=quality,
        weakest=weakest,
        operating_points=OPERATING_POINTS,
        published=manifest.data["sha256"] == PUBLISHED,
    )


def _interval(figure: Figure | jinja2.Undefined, sign: str = "") -> str:
    """Show a figure with its interval, or a dash where there is none."""
    return f"{figure:{sign}}" if isinstance(figure, Figure) else "–"


def _plain(text: str) -> str:
    """Remove the characters of a user's text that would end a table cell or inline code."""
    return "".join(" " if letter in "`|\r\n" else letter for letter in text)
