"""The recipes that ship, and how a wrong name is refused."""

from pathlib import Path

import msgspec
import pytest

from shared.errors import UsageError
from tests.conftest import ROOT
from tests.wandb.tracked import write_recipe
from trainer.commands.options import TrainingOptions
from trainer.fit.recipes import load_recipe, names
from trainer.origin import describe_settings

RUNS = ["Vanilla-Feedforward-NN", "LSTM", "Bidirectional-RNN"]
KINDS = ["feed-forward", "lstm", "bidirectional-lstm"]


def test_there_are_the_article_s_recipe_the_tuned_one_and_one_for_small_data() -> None:
    assert names() == ["article", "small", "tuned"]
    assert TrainingOptions().recipe is None  # the data decides
    small, tuned = load_recipe("small"), load_recipe("tuned")
    kinds = [[(n, m.kind) for n, m in recipe.models.items()] for recipe in (small, tuned)]
    assert kinds[0] == kinds[1]
    assert small.text == tuned.text
    assert [one.simple_teacher for one in (small, tuned)] == [True, False]


@pytest.mark.parametrize("name", ["article", "small", "tuned"])
def test_runs_are_the_article_s_three_in_its_order(name: str) -> None:
    models = load_recipe(name).models
    assert list(models) == RUNS
    assert [model.kind for model in models.values()] == KINDS


@pytest.mark.parametrize("name", ["article", "small", "tuned"])
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
    assert recipe.has_teacher
    assert recipe.cross_validate
    assert training.calibrate
    for model in recipe.models.values():
        assert model.masked
        assert model.ngrams
        assert model.vectors


@pytest.mark.parametrize("name", ["", "Tuned", "tuned.toml", "../recipes/tuned"])
def test_unknown_recipe_is_refused_naming_those_that_there_are(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_recipe(name)
    assert repr(name) in str(raised.value)
    assert "article, small, tuned" in str(raised.value)


def test_recipe_from_a_file(tmp_path: Path) -> None:
    shipped = (ROOT / "trainer" / "fit" / "recipes" / "article.toml").read_text("utf-8")
    path = tmp_path / "own.toml"
    path.write_text(shipped)
    article = msgspec.structs.replace(load_recipe("article"), name="own.toml")
    assert load_recipe(str(path)) == article
    own = '[trainings.LSTM]\noptimizer = "adam"\nlearning_rate = 0.5\nbatch_size = 8\nepochs = 1\n'
    own += "soft_targets = true\nkeep_best_epoch = true\ncalibrate = true\n"
    path.write_text(f"{shipped}\n{own}")
    recipe = load_recipe(str(path))
    assert recipe.training_of("LSTM").learning_rate == 0.5
    assert recipe.training_of("Bidirectional-RNN") == recipe.training
    assert describe_settings(recipe, "LSTM")["training"]["batch_size"] == 8


def refusal(folder: Path, recipe: str, given: str, other: str) -> str:
    """Return the error for a shipped recipe in which `other` replaces `given`."""
    shipped = (ROOT / "trainer" / "fit" / "recipes" / f"{recipe}.toml").read_text("utf-8")
    assert given in shipped
    path = folder / "own.toml"
    path.write_text(shipped.replace(given, other))
    with pytest.raises(UsageError) as raised:
        load_recipe(str(path))
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("given", "other", "named"),
    [
        ("embedding = 70", "embeding = 70", "embeding"),
        ("embedding = 70", "embedding = 0", "$.models[...].embedding"),
        ("learning_rate = 0.001", "learning_rate = 0", "$.training.learning_rate"),
        ('optimizer = "adam"', 'optimizer = "sgd"', "'sgd' - at `$.training.optimizer`"),
        ("seed = 1024", "seed = -1", "$.seed"),
        ("validation_size = 0.1", "validation_size = 1.0", "$.validation_size"),
        ("num_words = 7000\nkeep", "num_words = 9000\nkeep", "models.LSTM.num_words 7000"),
        ("units = 32", "units = 0", "models.LSTM.units 0: expected 1 or more"),
        ('"flat"', '"last"', "summary 'last': expected mean-max or flat for kind feed-forward"),
        ('"last"', '"flat"', "summary 'flat': expected mean-max or last for kind lstm"),
        (
            'masked = false\nsummary = "flat"',
            'masked = true\nsummary = "flat"',
            "summary 'flat': expected mean-max for kind feed-forward, masked",
        ),
        ("[models.LSTM]", '[models."../LSTM"]', "models.../LSTM: expected a name"),
        ("[models.LSTM]", "[models.LSTM", "line 27"),
        ("seed = 1024\n", "seed = 1024\ntrainings = {}\nepochs = 3\n", "epochs"),
    ],
)
def test_recipe_that_cannot_be_trained_is_refused(
    tmp_path: Path, given: str, other: str, named: str
) -> None:
    assert named in refusal(tmp_path, "article", given, other)


@pytest.mark.parametrize(
    ("given", "other", "named"),
    [
        ("keep_unknown = true", "keep_unknown = false", "LSTM.masked true: expected false, unless"),
        ("vectors = 50", "vectors = 25", "models.LSTM.vectors 25: expected 0 or 50"),
        ("keep_best_epoch = false", "keep_best_epoch = true", "keep_best_epoch true, for LSTM"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, given: str, other: str, named: str
) -> None:
    assert named in refusal(tmp_path, "tuned", given, other)


def test_training_of_a_model_that_there_is_not_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe("article")
    recipe = msgspec.structs.replace(recipe, trainings={"GRU": recipe.training})
    path = write_recipe(recipe, tmp_path / "own.toml")
    with pytest.raises(UsageError, match=r"trainings\.GRU: expected one of Vanilla.*, LSTM, Bidir"):
        load_recipe(str(path))
