"""Search spaces: the one that ships, what is drawn from one, and which are refused."""

import random
from pathlib import Path

import pytest

from shared.errors import UsageError
from tests.trainer.fit.test_training import FEED_FORWARD, tiny_recipe
from trainer.fit.recipes import load_recipe
from trainer.fit.space import applied, draw, load_space, parameters_of

ADDED = ["embedding", "units", "embedding_dropout", "dropout", "learning_rate", "batch_size"]


def test_the_one_that_ships_suits_every_model_of_both_recipes() -> None:
    space = load_space(None)
    assert list(space.parameters) == ADDED
    for recipe in map(load_recipe, ("article", "tuned")):
        for name, model in recipe.models.items():
            parameters = parameters_of(space, recipe, name)
            assert ("units" in parameters) == (model.kind != "feed-forward")
            assert set(ADDED) - set(parameters) <= {"units"}


def test_what_is_drawn_is_random_but_for_the_seed_and_within_its_bounds() -> None:
    space = load_space(None)
    drawn = [draw(space.parameters, random.Random(seed)) for seed in range(200)]
    assert drawn[7] == draw(space.parameters, random.Random(7))
    assert {values["embedding"] for values in drawn} == {16, 32, 64, 128}
    rates = sorted(float(values["learning_rate"]) for values in drawn)
    assert 0.001 <= rates[0] < 0.0013
    assert 0.008 < rates[-1] <= 0.01
    assert 0.0025 < rates[100] < 0.004  # the middle of the logarithms is 0.0032, not 0.0055


def test_whole_numbers(tmp_path: Path) -> None:
    space = load_space(written(tmp_path, 'distribution = "int_uniform"\nmin = 3\nmax = 5'))
    drawn = {draw(space.parameters, random.Random(seed))["embedding"] for seed in range(50)}
    assert drawn == {3, 4, 5}


def test_drawn_values_go_where_the_recipe_has_them() -> None:
    recipe = tiny_recipe(FEED_FORWARD, "LSTM")
    found = applied(recipe, "LSTM", {"embedding": 12, "learning_rate": 0.5, "batch_size": 7})
    assert list(found.models) == ["LSTM"]
    assert found.models["LSTM"].embedding == 12
    assert found.models["LSTM"].units == recipe.models["LSTM"].units
    training = found.training_of("LSTM")
    assert (training.learning_rate, training.batch_size) == (0.5, 7)
    assert training.epochs == recipe.training.epochs


def test_values_that_do_not_go_together_are_refused() -> None:
    named = r"LSTM with vectors 0, units 0: models\.LSTM\.units 0: expected 1 or more"
    with pytest.raises(UsageError, match=named):
        applied(tiny_recipe("LSTM"), "LSTM", {"vectors": 0, "units": 0})


def written(folder: Path, parameter: str, name: str = "embedding") -> Path:
    path = folder / "space.toml"
    path.write_text(f'method = "bayes"\n[parameters.{name}]\n{parameter}\n')
    return path


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("values = []", "length >= 1"),
        ('values = ["many"]', "int"),
        ("value = 3", "unknown field"),
        ("", "expected values, or distribution"),
        ("values = [3]\nmin = 1", "expected values, or distribution"),
        ('distribution = "uniform"\nmin = 1', "expected values, or distribution"),
        ('distribution = "uniform"\nmin = 2\nmax = 1', "the less first"),
        ('distribution = "log_uniform_values"\nmin = 0\nmax = 1', "above 0"),
        ('distribution = "normal"\nmin = 0\nmax = 1', "'normal'"),
    ],
)
def test_what_is_no_parameter_is_refused(tmp_path: Path, parameter: str, named: str) -> None:
    path = written(tmp_path, parameter)
    with pytest.raises(UsageError) as raised:
        load_space(path)
    assert str(path) in str(raised.value)
    assert named in str(raised.value)


def test_unknown_parameter_is_refused_naming_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parameters\.width: expected kind, .*learning_rate"):
        load_space(written(tmp_path, "values = [3]", "width"))


@pytest.mark.parametrize(
    ("parameter", "name", "named"),
    [
        ("values = [8, 0]", "embedding", "embedding 0"),
        ("values = [0.5, 1]", "dropout", "dropout 1"),
        ('distribution = "uniform"\nmin = 8\nmax = 16', "embedding", "embedding"),
        ('distribution = "uniform"\nmin = -1\nmax = 0.5', "dropout", "dropout -1"),
        ("values = [50, 25]", "vectors", "vectors 25: models"),
        ("values = [0, 32]", "ngrams", "ngrams 0: models"),
    ],
)
def test_value_that_a_model_cannot_have_is_refused_before_anything_is_trained(
    tmp_path: Path, parameter: str, name: str, named: str
) -> None:
    space = load_space(written(tmp_path, parameter, name))
    with pytest.raises(UsageError) as raised:
        parameters_of(space, tiny_recipe(), FEED_FORWARD)
    assert f"{FEED_FORWARD} with {named}" in str(raised.value)
