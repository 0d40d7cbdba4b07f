"""`triage-trainer sweep`: looks for better settings and prints them as a recipe."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shared.command_line import Count
from trainer.commands.options import ContextGiven, LabelledData, TrainingOptions


def sweep(
    *,
    labelled: LabelledData,
    training: TrainingOptions = TrainingOptions(),  # noqa: B008  # it is frozen
    count: Count = 10,
    space: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    context: ContextGiven,
) -> None:
    """Search for better settings of a recipe's models, and print the best ones as a recipe.

    Settings are compared by ROC AUC on the validation part; the test part is not used. If W&B is
    online, it chooses the settings; otherwise they are random.

    For example:

        $ triage-trainer sweep --data tweets.csv --count 20 > better.toml
        $ triage-trainer train --data tweets.csv --recipe better.toml

    Args:
        count: Trials of each model of the recipe.
        space: The settings to try, a TOML file; by default, a built-in one.

    Raises:
        UnavailableError: after the result is printed, if W&B failed or lacks a part of it. The
            further settings are random then.
    """
    from trainer.fit.recipes import load_recipe
    from trainer.fit.space import load_space, parameters_of
    from trainer.tracking.tracker import new_tracker

    out, err = context.out, context.err
    recipe = load_recipe(training.recipe or "tuned", training.seed)
    to_try = load_space(space)
    for model in recipe.models:
        parameters_of(to_try, recipe, model)
    with err.status("reading the data"):
        dataset = labelled.read(err)
    tracker = new_tracker(
        training.wandb,
        f"sweep-{recipe.name}",
        dataset,
        err.print,
        context.registry,
        job_type="sweep",
    )
    with err.status("loading Keras"):
        from trainer.sweep import Search

    search = Search(recipe, dataset, tracker, err)
    try:
        for model in recipe.models:
            search.try_settings(model, to_try, count)
    finally:  # after Ctrl-C too
        if search.trials:
            err.print(search.table())
            out.print(search.best_recipe(), end="", highlight=False)
    if tracker:
        tracker.close()
