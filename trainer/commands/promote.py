"""`triage-trainer promote`: moves an alias to a version; `production` has a gate to pass."""

import re

from shared.command_line import Flag
from shared.errors import BundleError, RegistryError, UsageError
from shared.registry.base import PREVIOUS, PRODUCTION, Version
from trainer.commands.options import Context, ContextGiven, LabelledData

_NAME = re.compile(r"[\w.-]+", re.ASCII)
_VERSION = re.compile(r"v?\d+|latest", re.ASCII)
_MOVED_BY = {PRODUCTION: "`promote` moves it", PREVIOUS: "`promote` and `rollback` move it"}


def expect_free(alias: str, *taken: str) -> None:
    """Check that an alias is a name, and not one that other commands move.

    W&B allows few characters and numbers its versions v0, v1 and so on. A folder has the same
    rules, so that its versions can be moved to W&B.

    Raises:
        UsageError: if it is not.
    """
    if alias in taken:
        raise UsageError(f"--alias {alias}: expected another alias: {_MOVED_BY[alias]}")
    if not _NAME.fullmatch(alias) or _VERSION.fullmatch(alias):
        raise UsageError(
            f"--alias {alias!r}: expected a name of ASCII letters, digits, '-', '_' and '.'; "
            "numbers, v3 and the like, and latest are those of versions"
        )


def promote(
    version: str,
    /,
    *,
    alias: str = PRODUCTION,
    labelled: LabelledData | None = None,
    reason: str = "",
    force: Flag = False,
    context: ContextGiven,
) -> None:
    """Put a version into production, or set another alias to it.

    A version that is worse than the one in production is refused. With `--data`, both are compared
    on these tweets; without, by the figures of their training. A version that `adapt` made is
    also compared on the labels that it learned, each predicted by a model that did not learn it.

    For example:

        $ triage-trainer promote candidate --data tweets.csv

    Args:
        version: A number or an alias, such as `candidate`.
        alias: The alias to move to the version; only `production` has a gate to pass.
        reason: A note for the registry's history.
        force: Promote a version that the gate refuses; needs `--reason`.

    Raises:
        RegistryError: if the gate refuses the version without `--force`.
        UsageError: if the options do not go together, or the alias cannot be set.
    """
    registry, out = context.registry, context.out
    expect_free(alias, PREVIOUS)
    if force and not reason.strip():
        raise UsageError("--force: expected --reason TEXT as well, which the history keeps")
    if alias != PRODUCTION and (labelled or force):
        raise UsageError(f"--alias {alias}: only {PRODUCTION} has a gate to pass")
    chosen = registry.resolve(version)
    refusals = _refusals(chosen, labelled, context) if alias == PRODUCTION else []
    if refusals and not force:
        raise RegistryError(
            f"version {chosen.number} is not promoted: {'; '.join(refusals)} "
            "(--force --reason TEXT promotes it all the same)"
        )
    for refusal in refusals:
        out.print(f"forced, although {refusal}")
    promoted = registry.promote(str(chosen.number), alias, reason, forced=bool(refusals))
    out.print(f"{alias} is now version {promoted.number} ({promoted.manifest.name})")


def _refusals(version: Version, labelled: LabelledData | None, context: Context) -> list[str]:
    """Show how a version compares with production, and return why it should not replace it."""
    registry, cache, out = context.registry, context.cache, context.out
    try:
        production = registry.resolve(PRODUCTION)
    except RegistryError:  # the first promotion
        return []
    except BundleError as error:
        return [f"there is nothing to compare with: {error}"]
    if production.digest == version.digest:
        return []
    with context.err.status("comparing with production"):
        from shared.bundle.load import load_bundle
        from trainer.evaluate.gate import judge, judge_adapted, judge_recorded, version_name
        from trainer.evaluate.loaded_model import LoadedModel

        adaptation = version.manifest.adaptation
        verdicts = []
        if adaptation and adaptation.compared_with == production.digest:
            verdicts.append(judge_adapted(version, production))
        if labelled:
            dataset = labelled.read(context.err, version.manifest.labelling)
            folder = registry.fetch(version, cache)
            candidate = LoadedModel(version_name(version), folder, load_bundle(folder))
            try:
                folder = registry.fetch(production, cache)
                current = LoadedModel(version_name(production), folder, load_bundle(folder))
            except BundleError as error:
                return [f"there is nothing to compare with: {error}"]
            verdicts.append(judge(candidate, current, dataset))
        elif not verdicts:
            verdicts.append(judge_recorded(version, production))
    for verdict in verdicts:
        if verdict.table:
            out.print(verdict.table)
        for note in verdict.notes:
            out.print(note)
    return [refusal for verdict in verdicts for refusal in verdict.refusals]
