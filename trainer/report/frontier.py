"""Frontier: how good models are against how many tweets a core scores with them in a second.

    python -m trainer.report.frontier points.json frontier.svg

The JSON file is a list of points, as `Point` says; models that no other one beats in both are
joined by a line.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure as Canvas

from shared.bundle.quality import Figure
from shared.errors import DataError, run_program
from trainer.evaluate.metrics import NAMES
from trainer.report.plots import LOOKS, STYLE


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model: how good it is by a metric, and how fast in tweets a second.

    Attributes:
        family: such as a recipe; its models have the same colour.
    """

    name: str
    family: str
    tweets_per_second: float
    metric: str
    figure: Figure


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """Those than which no other one is both better and faster, the fastest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.tweets_per_second, -one.figure.value)):
        if not found or point.figure.value > found[-1].figure.value:
            found.append(point)
    return found


def draw_frontier(points: Sequence[Point], path: Path) -> None:
    """Draws the points, all of one metric, into a file whose ending is its format."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "frontier"}):
        canvas = Canvas(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
        axes = canvas.subplots()
        best = unbeaten(points)
        rates = [point.tweets_per_second for point in best]
        axes.plot(rates, [point.figure.value for point in best], color="#888888", lw=1)
        families = dict.fromkeys(point.family for point in points)
        for family, (colour, _) in zip(families, LOOKS, strict=False):
            for number, point in enumerate(one for one in points if one.family == family):
                figure = point.figure
                ends = [[figure.value - figure.low], [figure.high - figure.value]]
                axes.errorbar(
                    point.tweets_per_second,
                    figure.value,
                    ends,
                    fmt="o",
                    color=colour,
                    label="_" if number else family,
                )
                place = (point.tweets_per_second, figure.value)
                offset, side = ((6, 4), "left") if number % 2 == 0 else ((-6, 4), "right")
                axes.annotate(
                    point.name, place, offset, textcoords="offset points", ha=side, fontsize=8.5
                )
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.set_xlabel("tweets a second")
        axes.set_ylabel(NAMES[points[0].metric])
        axes.legend(loc="lower left")
        canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(arguments: Sequence[str]) -> int:
    """Reads the points and draws them."""
    source, target = map(Path, arguments)
    try:
        points = msgspec.json.decode(source.read_bytes(), type=list[Point])
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{source}: expected a list of points: {error}") from error
    metrics = {point.metric for point in points}
    if len(metrics) != 1 or not metrics <= NAMES.keys():
        raise DataError(f"{source}: expected points of one metric, got {sorted(metrics)}")
    draw_frontier(points, target)
    return 0


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(sys.argv[1:])))
