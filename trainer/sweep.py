"""Search for better settings of a recipe's models.

Settings are compared by ROC AUC on the validation part. The test part is not used, so that it can
measure the result.
"""

import random
from contextlib import nullcontext
from typing import Any

import msgspec
import tomli_w
from rich.console import Console
from rich.table import Table

from shared.errors import TriageError
from shared.model.architecture import count_parameters
from trainer.data.dataset import Dataset
from trainer.distill.simple_teacher import find_soft_labels
from trainer.evaluate.metrics import Metrics, evaluate, figures_table
from trainer.evaluate.thresholds import UNCALIBRATED
from trainer.fit.calibration import calibrate
from trainer.fit.corpus import Corpus
from trainer.fit.cross_validation import fit_validated
from trainer.fit.folds import Split, divide
from trainer.fit.loop import Fitter
from trainer.fit.recipes import Recipe
from trainer.fit.space import Drawn, Space, applied, draw, parameters_of
from trainer.listener import Listener
from trainer.origin import describe_origin, describe_settings
from trainer.tracking.agent import run_agent
from trainer.tracking.tracker import Tracker

METRIC = "validation/roc_auc"


class Trial(msgspec.Struct, frozen=True):
    """A recipe of one model, and its figures on the validation part.

    Attributes:
        drawn: the settings that differ; none in the first trial of each model.
    """

    model: str
    drawn: Drawn
    recipe: Recipe
    figures: Metrics


class Search:
    """Tries settings of a recipe's models, and remembers the trials."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        tracker: Tracker | None,
        err: Console,
    ) -> None:
        self.trials: list[Trial] = []
        self._dataset = dataset
        self._tracker = tracker
        self._err = err
        soft_labels = find_soft_labels(recipe, dataset)
        self._recipe = recipe
        split = divide(recipe, dataset, soft_labels)
        self._origin = describe_origin(recipe, dataset, split.parts)
        parts = msgspec.structs.replace(split.parts, test=split.parts.test[:0])
        self._split = Split(parts, held_out=None if split.folds is None else 0)
        self._corpus = Corpus(recipe, dataset, soft_labels)

    def try_settings(self, model: str, space: Space, count: int) -> None:
        """Try the recipe as it is, and then so many settings of W&B's choice, or at random."""
        self._try(model, {})
        parameters = parameters_of(space, self._recipe, model)
        tracker = self._tracker
        if tracker and tracker.is_online:
            config = {
                "name": model,
                "method": space.method,
                "metric": {"name": METRIC, "goal": "maximize"},
                "parameters": msgspec.to_builtins(parameters),
            }
            try:
                run_agent(config, count, lambda drawn: self._try(model, drawn))
                return  # after fewer trials, if a user stopped the sweep on W&B's pages
            except TriageError as error:
                tracker.problems.append(f"the sweep of {model} went on without W&B: {error}")
        randomness = random.Random(f"{model} {self._recipe.seed}")
        while len(self._of(model)) <= count:
            self._try(model, draw(parameters, randomness))

    def best(self) -> list[Trial]:
        """Return the best trial of each model."""
        found: dict[str, Trial] = {}
        for trial in self.trials:
            so_far = found.setdefault(trial.model, trial)
            if trial.figures["roc_auc"] > so_far.figures["roc_auc"]:
                found[trial.model] = trial
        return list(found.values())

    def table(self) -> Table:
        """Show the best trial of each model beside the recipe as it is."""
        title = f"Best on {len(self._split.parts.validation)} validation tweets, by ROC AUC"
        table = figures_table(title, "model")
        for column in ("trials", "roc auc", "was", "accuracy", "was"):
            table.add_column(column, justify="right")
        for best in self.best():
            first, *others = self._of(best.model)
            shown = [
                f"{trial.figures[metric]:.3f}"
                for metric in ("roc_auc", "accuracy")
                for trial in (best, first)
            ]
            table.add_row(best.model, str(len(others)), *shown)
        return table

    def best_recipe(self) -> str:
        """Return the best settings of each model as a recipe in TOML."""
        best = self.best()
        recipe = msgspec.structs.replace(
            self._recipe,
            models={trial.model: trial.recipe.models[trial.model] for trial in best},
            trainings={trial.model: trial.recipe.training for trial in best},
        )
        data = self._origin["data"]
        lines = [
            f"# Found by `triage-trainer sweep` from the recipe {self._origin['recipe']}, seed "
            f"{self._recipe.seed}, on {data['name']}",
            f"# (SHA-256 {data['sha256']}), by ROC AUC on validation:",
            *(f"# {t.model} {t.figures['roc_auc']:.4f}, with {_shown(t.drawn)}." for t in best),
        ]
        settings = _without_none(msgspec.to_builtins(recipe))
        del settings["name"]
        return "\n".join([*lines, tomli_w.dumps(settings)])

    def _of(self, model: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.model == model]

    def _try(self, model: str, drawn: Drawn) -> None:
        number = len(self._of(model))
        recipe = applied(self._recipe, model, drawn)
        listener = self._tracker or Listener()
        with self._tracker or nullcontext(), self._err.status(f"{model}: trial {number}"):
            config = {**self._origin, **describe_settings(recipe, model)}
            listener.on_model_begin(f"{model}-{number}", config, self._split.parts)
            fitter = Fitter(model, recipe, self._corpus)
            validated = fit_validated(fitter, self._split, recipe.seed, listener)
            scored = calibrate(fitter, validated, self._split).scored
            metrics = {
                part: evaluate(*scored[part], UNCALIBRATED) for part in ("train", "validation")
            }
            listener.on_model_end(metrics, count_parameters(recipe.models[model]))
        figures = metrics["validation"]
        self.trials.append(Trial(model, drawn, recipe, figures))
        self._err.print(f"{model} {number}: ROC AUC {figures['roc_auc']:.4f} with {_shown(drawn)}")


def _shown(drawn: Drawn) -> str:
    return (
        ", ".join(f"{name} {value:.4g}" for name, value in drawn.items()) or "the recipe as it is"
    )


def _without_none(value: Any) -> Any:
    """Return the value without None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value
