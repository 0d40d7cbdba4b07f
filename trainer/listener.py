"""Events of a training, for a progress bar or an experiment tracker."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.model.scorer import Scorer
    from trainer.data.split import Parts
    from trainer.evaluate.bootstrap import Scores
    from trainer.evaluate.metrics import Metrics


class Listener:
    """Receives the events of a training, in this order, and ignores them."""

    def on_model_begin(self, name: str, settings: dict[str, Any], parts: "Parts") -> None:
        """Handle the start of a model's training.

        Args:
            settings: all that the model depends on; `data` is as in a bundle's manifest.
        """

    def on_fit_begin(self, number: int, fits: int) -> None:
        """Handle the start of a fit of the current model.

        Args:
            number: of the fit, from 1.
            fits: how many there will be; more than one in a cross-validation.
        """

    def on_batch_end(self, done: int, batches: int) -> None:
        """Handle a batch that the current fit has trained on.

        Args:
            done: batches that it has trained on.
            batches: how many there will be.
        """

    def on_epoch_end(self, scorer: "Scorer", figures: "Metrics") -> None:
        """Handle the end of an epoch of the current model.

        Args:
            scorer: the model as it is now, not calibrated.
            figures: `loss` and `accuracy` of the epoch; those of the validation part have the
                prefix `val_`, as in Keras.
        """

    def on_group_end(self, done: int, groups: int) -> None:
        """Handle the result of a training without one group, measured on that group."""

    def on_model_end(
        self,
        metrics: "dict[str, Metrics]",
        parameters: int,
        test: "Scores | None" = None,
        bundle: Path | None = None,
    ) -> None:
        """Handle the end of a model's training: it is measured.

        Args:
            metrics: by part of the data.
            parameters: number of the model's weights.
            test: its scores of the test part.
            bundle: the folder of its bundle.
        """


class Listeners(Listener):
    """Passes each event on to several listeners."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def on_model_begin(self, name: str, settings: dict[str, Any], parts: "Parts") -> None:  # noqa: D102
        for listener in self._listeners:
            listener.on_model_begin(name, settings, parts)

    def on_fit_begin(self, number: int, fits: int) -> None:  # noqa: D102
        for listener in self._listeners:
            listener.on_fit_begin(number, fits)

    def on_batch_end(self, done: int, batches: int) -> None:  # noqa: D102
        for listener in self._listeners:
            listener.on_batch_end(done, batches)

    def on_epoch_end(self, scorer: "Scorer", figures: "Metrics") -> None:  # noqa: D102
        for listener in self._listeners:
            listener.on_epoch_end(scorer, figures)

    def on_group_end(self, done: int, groups: int) -> None:  # noqa: D102
        for listener in self._listeners:
            listener.on_group_end(done, groups)

    def on_model_end(  # noqa: D102
        self,
        metrics: "dict[str, Metrics]",
        parameters: int,
        test: "Scores | None" = None,
        bundle: Path | None = None,
    ) -> None:
        for listener in self._listeners:
            listener.on_model_end(metrics, parameters, test, bundle)
