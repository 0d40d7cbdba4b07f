"""Bars on the terminal while models train, and a model's latest figures behind them."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


@contextmanager
def bars(console: Console) -> Iterator["Bars"]:
    """Shows a bar for each model while it trains, and a line for it when it is done."""
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Bars:
    """Turns calls of `trainer.pipeline.Progress` into bars."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, steps: int, figures: dict[str, float]) -> None:
        """Moves the model's bar, and shows the latest epoch's validation loss behind it."""
        if name not in self._tasks:
            added = self._progress.add_task(name, start=False, total=steps, figures="")
            self._tasks[name] = added
        task = self._tasks[name]
        if done == 1:
            self._progress.start_task(task)
        self._progress.update(task, completed=done)
        if "val_loss" in figures:
            shown = f"validation loss {figures['val_loss']:.3f}"
            self._progress.update(task, figures=shown)
