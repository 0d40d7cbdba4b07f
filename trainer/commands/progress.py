"""Progress bars on the terminal while models train."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from trainer.listener import Listener

if TYPE_CHECKING:
    from shared.model.scorer import Scorer
    from trainer.data.split import Parts
    from trainer.evaluate.metrics import Metrics


@contextmanager
def bars(console: Console) -> Iterator["Bars"]:
    """Show a bar for each model while it trains, and keep it as a line when it is done."""
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Bars(Listener):
    """Moves a bar for each model, and shows the latest epoch's validation loss behind it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._model = ""
        self._bar = TaskID(0)

    def on_model_begin(self, name: str, settings: dict[str, Any], parts: "Parts") -> None:  # noqa: ARG002, D102
        self._model = name
        self._begin(name)

    def on_fit_begin(self, number: int, fits: int) -> None:  # noqa: D102
        if fits > 1:
            self._progress.update(self._bar, description=f"{self._model}, fit {number}/{fits}")

    def on_batch_end(self, done: int, batches: int) -> None:  # noqa: D102
        self._progress.update(self._bar, completed=done, total=batches)

    def on_epoch_end(self, scorer: "Scorer", figures: "Metrics") -> None:  # noqa: ARG002, D102
        self._progress.update(self._bar, figures=f"validation loss {figures['val_loss']:.3f}")

    def on_group_end(self, done: int, groups: int) -> None:  # noqa: D102
        if done == 0:
            self._begin(f"{self._model}, groups")
        self._progress.update(self._bar, completed=done, total=groups)

    def on_model_end(self, *_: object) -> None:  # noqa: D102
        self._progress.stop_task(self._bar)

    def _begin(self, description: str) -> None:
        if self._progress.tasks:
            self._progress.stop_task(self._bar)
        self._bar = self._progress.add_task(description, total=None, figures="")
