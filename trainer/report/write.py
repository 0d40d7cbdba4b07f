"""Writes a report: one self-contained page, its pictures beside it, and every figure as JSON."""

from pathlib import Path

import msgspec

from shared.errors import DataError
from trainer.report.contents import Measured, Report
from trainer.report.page import page
from trainer.report.plots import (
    calibration_plot,
    confusion_matrix,
    learning_curves,
    precision_recall_curves,
    roc_curves,
)

PAGE = "report.html"
FIGURES = "report.json"


def write_report(report: Report, measured: Measured, folder: Path) -> None:
    """Write `report.html`, `report.json` and the PNG files to a folder, and create it.

    Raises:
        DataError: if the folder cannot be written.
    """
    pictures = {
        "ranking": [
            roc_curves(report, measured),
            precision_recall_curves(report, measured),
            calibration_plot(report, measured),
        ],
        "confusion": [confusion_matrix(model) for model in report.models],
        "learning": learning_curves(report),
    }
    contents = {picture.file: picture.png for section in pictures.values() for picture in section}
    contents[PAGE] = page(report, pictures).encode("utf-8", "replace")
    contents[FIGURES] = msgspec.json.format(msgspec.json.encode(report), indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}") from error
