"""The report's pictures, as PNG files: learning curves, confusion, ranking, calibration."""

import io
from collections.abc import Callable
from itertools import cycle
from typing import Any

import matplotlib as mpl
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from shared.arrays import Floats
from trainer.evaluate.bootstrap import CONFIDENCE, Scores
from trainer.evaluate.metrics import Labels, Values
from trainer.report.contents import Confusion, Measured, ModelReport, Report

_BAND = 200
"""The number of resamples for a curve's band; more make no visible difference."""

_GRID = np.linspace(0, 1, 101)

# Okabe and Ito's colours, which colour-blind people can distinguish, each with a line style.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STYLES = ("-", "--", "-.", ":")
LOOKS = tuple(zip(_COLOURS, cycle(_STYLES), strict=False))
STYLE: Any = {
    "font.family": "DejaVu Sans",  # part of matplotlib
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


class Picture(msgspec.Struct, frozen=True):
    """A PNG file: its name, a title, what it shows in words, and its bytes."""

    file: str
    title: str
    description: str
    png: bytes


def learning_curves(report: Report) -> list[Picture]:
    """Plot loss and accuracy after each epoch, for each model that has them, on equal scales."""
    models = [model for model in report.models if model.epochs]
    values = {
        metric: [epoch[key] for m in models for epoch in m.epochs for key in _keys(metric)]
        for metric in ("loss", "accuracy")
    }
    ends = [end for m in models for f in m.validation_accuracy for end in (f.low, f.high)]
    limits = {"loss": _limits(values["loss"]), "accuracy": _limits(values["accuracy"] + ends)}
    return [_learning_curve(model, limits) for model in models]


def _keys(metric: str) -> tuple[str, str]:
    return metric, f"val_{metric}"


def _limits(values: list[float]) -> tuple[float, float]:
    margin = 0.05 * (max(values) - min(values)) + 0.005
    return min(values) - margin, max(values) + margin


def _learning_curve(model: ModelReport, limits: dict[str, tuple[float, float]]) -> Picture:
    def paint(canvas: Canvas) -> None:
        epochs = np.arange(1, len(model.epochs) + 1)
        above, below = canvas.subplots(2, sharex=True)
        for axes, metric in ((above, "loss"), (below, "accuracy")):
            looks = zip(_keys(metric), ("training", "validation"), _looks(), strict=False)
            for key, name, (colour, style) in looks:
                values = [epoch[key] for epoch in model.epochs]
                axes.plot(epochs, values, style, marker="o", ms=4, color=colour, label=name)
            axes.set_ylabel(metric)
            axes.set_ylim(limits[metric])
        band = [(figure.low, figure.high) for figure in model.validation_accuracy]
        below.fill_between(epochs, *np.transpose(band), color=LOOKS[1][0], alpha=0.12, lw=0)
        _legend_below(canvas, above)
        below.set_xlabel("epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))

    last = model.epochs[-1]
    return _picture(
        f"learning-curves-{model.name}",
        model.name,
        f"{model.name}: after {len(model.epochs)} epochs the training loss is {last['loss']:.3f} "
        f"and the validation loss {last['val_loss']:.3f}, the training accuracy "
        f"{last['accuracy']:.3f} and the validation accuracy {last['val_accuracy']:.3f}.",
        (4.4, 4.4),
        paint,
    )


def confusion_matrix(model: ModelReport) -> Picture:
    """Plot the confusion matrix of each model, with shares of each label's tweets."""
    confusion = model.confusion

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        counts, shares = _cells(confusion)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(2):
            for column in range(2):
                axes.text(
                    column,
                    row,
                    f"{counts[row][column]}\n{shares[row][column]:.1%}",
                    ha="center",
                    va="center",
                    size=13,
                    color="white" if shares[row][column] > 0.5 else "black",
                )
        axes.set_xticks([0, 1], ["relevant", "not relevant"])
        axes.set_yticks([0, 1], ["relevant", "not relevant"], rotation=90, va="center")
        axes.set_xlabel("the model says")
        axes.set_ylabel("the label says")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    return _picture(
        f"confusion-{model.name}",
        model.name,
        f"{model.name}: of the relevant tweets {confusion.true_positives} are found and "
        f"{confusion.false_negatives} missed; of the others {confusion.true_negatives} are left "
        f"out and {confusion.false_positives} become false alarms.",
        (3.9, 3.7),
        paint,
    )


def roc_curves(report: Report, measured: Measured) -> Picture:
    """Plot the share of relevant tweets found against the share of false alarms."""

    def curve(labels: Labels, probabilities: Floats, weights: Values | None) -> Values:
        alarms, found, _ = roc_curve(labels, probabilities, sample_weight=weights)
        return np.asarray(np.interp(_GRID, alarms, found))

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.plot([0, 1], [0, 1], color="#888888", lw=1)
        _curves(axes, report, measured, "roc_auc", curve)
        axes.set_xlabel("false alarms: share of the tweets that are not relevant")
        axes.set_ylabel("recall: share of the relevant tweets found")
        _legend_below(canvas, axes, "area under the curve")

    described = _described(report, "ROC curves", "roc_auc")
    return _picture("roc", "ROC", described, (4.8, 5.2), paint)


def precision_recall_curves(report: Report, measured: Measured) -> Picture:
    """Plot the share of relevant alerts against the share of relevant tweets found."""

    def curve(labels: Labels, probabilities: Floats, weights: Values | None) -> Values:
        precision, recall, _ = precision_recall_curve(
            labels, probabilities, sample_weight=weights, drop_intermediate=True
        )
        found = np.interp(_GRID, recall[::-1], precision[::-1])
        found[0] = found[1]  # where nothing is found, one tweet or none decides
        return np.asarray(found)

    def paint(canvas: Canvas) -> None:
        axes = canvas.subplots()
        axes.axhline(report.data.relevant / report.data.rows, color="#888888", lw=1)
        _curves(axes, report, measured, "average_precision", curve)
        axes.set_xlabel("recall: share of the relevant tweets found")
        axes.set_ylabel("precision: share of the alerts that are relevant")
        axes.set_ylim(0, 1.02)
        _legend_below(canvas, axes, "average precision")

    described = _described(report, "Precision-recall curves", "average_precision")
    return _picture("precision-recall", "Precision and recall", described, (4.8, 5.2), paint)


def calibration_plot(report: Report, measured: Measured) -> Picture:
    """Plot the share of relevant tweets against probability, and a histogram of probabilities."""

    def paint(canvas: Canvas) -> None:
        axes, below = canvas.subplots(2, sharex=True, height_ratios=[3, 1])
        axes.plot([0, 1], [0, 1], color="#888888", lw=1)
        for model, (colour, style) in zip(report.models, _looks(), strict=False):
            x = np.array([bin_.mean_probability for bin_ in model.calibration])
            shares = [bin_.relevant for bin_ in model.calibration]
            y = np.array([figure.value for figure in shares])
            ends = np.array([[f.value - f.low, f.high - f.value] for f in shares]).T
            axes.errorbar(
                x, y, ends, fmt=style, marker="o", ms=4, lw=1.4, color=colour, label=_label(model)
            )
            earlier = [(b.mean_probability, b.relevant.value) for b in model.calibration_chosen_on]
            axes.plot(*zip(*earlier, strict=True), lw=3, color=colour, alpha=0.3) if earlier else ()
            probabilities = measured.scores[model.name].probabilities
            below.hist(
                probabilities, bins=20, range=(0, 1), histtype="step", color=colour, ls=style
            )
        axes.set_ylabel("share that is relevant")
        below.set_ylabel("tweets")
        below.set_xlabel("probability that the model gives")
        _legend_below(canvas, axes, "calibration error")

    def _label(model: ModelReport) -> str:
        return f"{model.name} {model.figures['calibration_error'].value:.3f}"

    described = _described(report, "Calibration plot", "calibration_error")
    return _picture("calibration", "Calibration", described, (4.8, 5.2), paint)


Curve = Callable[[Labels, Floats, Values | None], Values]


def _curves(axes: Axes, report: Report, measured: Measured, metric: str, curve: Curve) -> None:
    """Draw each model's curve over `_GRID`, with its interval at every point as a band."""
    tail = (1 - CONFIDENCE) / 2
    for model, (colour, style) in zip(report.models, _looks(), strict=False):
        scores: Scores = measured.scores[model.name]
        band = [
            curve(measured.labels, scores.probabilities, drawn)
            for drawn in measured.counts[:_BAND].astype(np.float64)
        ]
        low, high = np.quantile(band, [tail, 1 - tail], axis=0)
        axes.fill_between(_GRID, low, high, color=colour, alpha=0.12, lw=0)
        whole = curve(measured.labels, scores.probabilities, None)
        label = f"{model.name} {model.figures[metric].value:.3f}"
        axes.plot(_GRID, whole, style, color=colour, label=label)
    axes.set_xlim(-0.01, 1.01)


def _legend_below(canvas: Canvas, axes: Axes, title: str | None = None) -> None:
    """Put the legend of the axes below all axes, where it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if title else 2
    canvas.legend(
        *(handles, labels),
        loc="outside lower center",
        ncols=columns,
        title=title,
        title_fontsize=8.5,
    )


def _looks() -> "cycle[tuple[str, str]]":
    return cycle(LOOKS)


def _cells(confusion: Confusion) -> tuple[list[list[int]], list[list[float]]]:
    found, left = confusion.relevant_found.value, confusion.others_left.value
    return (
        [
            [confusion.true_positives, confusion.false_negatives],
            [confusion.false_positives, confusion.true_negatives],
        ],
        [[found, 1 - found], [1 - left, left]],
    )


def _described(report: Report, what: str, metric: str) -> str:
    each = ", ".join(f"{model.name} {model.figures[metric]}" for model in report.models)
    return f"{what}; {metric.replace('_', ' ')}: {each}."


def _picture(
    name: str,
    title: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Canvas], None],
) -> Picture:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=size, dpi=150, layout="constrained", facecolor="white")
        paint(canvas)
        content = io.BytesIO()
        canvas.savefig(content, format="png", metadata={"Software": None})
    file = "".join(c if c.isalnum() or c in "-." else "-" for c in name)
    return Picture(f"{file}.png", title, description, content.getvalue())
