"""The recipes that ship, and how a wrong name is refused."""

import pytest

from shared.errors import UsageError
from trainer.recipes import DEFAULT, load_recipe, names

RUNS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
KINDS = ["feed-forward", "lstm", "bidirectional-lstm"]


def test_there_are_the_article_s_recipe_and_the_tuned_one_which_is_the_default() -> None:
    assert names() == ["article", "tuned"]
    assert DEFAULT == "tuned"


@pytest.mark.parametrize("name", ["article", "tuned"])
def test_runs_are_the_article_s_three_in_its_order(name: str) -> None:
    models = load_recipe(name).models
    assert list(models) == RUNS
    assert [model.kind for model in models.values()] == KINDS


@pytest.mark.parametrize("name", ["article", "tuned"])
def test_models_have_a_row_for_every_word_id(name: str) -> None:
    recipe = load_recipe(name)
    for model in recipe.models.values():
        assert model.num_words == recipe.text.num_words


def test_article_s_figures() -> None:
    recipe = load_recipe("article")
    assert recipe.text.num_words == 7000
    assert not recipe.text.keep_unknown
    assert not recipe.text.rewrite
    for model in recipe.models.values():
        assert (model.num_words, model.length, model.embedding) == (7000, 140, 70)
        assert not model.masked
        assert (model.embedding_dropout, model.dropout) == (0, 0)
    training = recipe.training
    assert (training.batch_size, training.epochs) == (32, 10)
    assert (training.optimizer, training.learning_rate) == ("adam", 0.001)
    assert not training.soft_targets
    assert not training.keep_best_epoch
    assert not training.calibrate


def test_tuned_recipe_does_what_the_article_did_not() -> None:
    recipe = load_recipe("tuned")
    assert recipe.text.keep_unknown
    assert recipe.text.rewrite
    training = recipe.training
    assert training.soft_targets
    assert training.keep_best_epoch
    assert training.calibrate
    for model in recipe.models.values():
        assert model.masked


@pytest.mark.parametrize("name", ["", "Tuned", "tuned.toml", "../recipes/tuned"])
def test_unknown_recipe_is_refused_naming_those_that_there_are(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_recipe(name)
    assert repr(name) in str(raised.value)
    assert "article, tuned" in str(raised.value)
