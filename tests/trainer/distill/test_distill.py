"""`triage-trainer distill` with a transformer of its kind, and training on what it wrote.

It needs torch, which takes gigabytes and does not go well with TensorFlow in one process: an
environment of its own, which `.ci/run` makes.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, SAMPLE
from tests.missing import skip_or_fail
from trainer.cli import main
from trainer.data.dataset import write_rows
from trainer.data.read import read_dataset
from trainer.data.split import cut_test
from trainer.distill.augment import LABELLED
from trainer.distill.soft_labels import FOLDS, read_soft_labels

PYTHON = ROOT / ".venv-distill" / "bin" / "python"

TINY = """
import sys
from pathlib import Path
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

folder, texts = Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()
tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
tokenizer.normalizer = normalizers.Lowercase()
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special)
tokenizer.train_from_iterator(texts, trainer)
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=128
).save_pretrained(folder)
BertModel(
    BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
    )
).save_pretrained(folder)
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """Return a Python interpreter that has the extra `distill`."""
    if not PYTHON.exists():
        skip_or_fail(f"there is no {PYTHON.relative_to(ROOT)}; .ci/run makes one")
    return PYTHON


def distill(python: Path, data: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "trainer.cli", "distill", "--data", data, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_distill_writes_what_train_learns_from(python: Path, tmp_path: Path) -> None:
    texts, teacher, said, data = (
        tmp_path / name for name in ("texts", "teacher", "said.safetensors", "data.csv")
    )
    write_rows(read_dataset(SAMPLE), np.arange(160), data)  # fewer take a third of the time
    dataset = read_dataset(data)
    texts.write_text("\n".join(dataset.texts))
    subprocess.run([python, "-c", TINY, teacher, texts], check=True)
    done = distill(python, data, "--teacher", teacher, "--rounds", "2", "--out", said)
    assert done.returncode == 0, done.stderr
    assert "the teachers are right on" in done.stdout

    soft_labels = read_soft_labels(dataset, said)
    assert soft_labels is not None
    rows, _ = cut_test(dataset)
    assert soft_labels.probabilities.shape == (FOLDS, len(rows), 1 + LABELLED)
    # Each fold's teachers are others, and none of them was asked about nothing.
    assert (np.ptp(soft_labels.probabilities, axis=0) > 0).mean() > 0.9
    assert (soft_labels.probabilities > 0).all()

    recipe = tmp_path / "recipe.toml"
    tuned = (ROOT / "trainer" / "fit" / "recipes" / "tuned.toml").read_text()
    recipe.write_text(tuned[: tuned.index("[models.LSTM]")])
    train = ["train", "--data", str(data), "--recipe", str(recipe), "--soft-labels", str(said)]
    assert main([*train, "--bundles", str(tmp_path / "bundles")]) == 0


def test_test_part_of_one_label_is_refused_before_a_teacher_is_loaded(
    python: Path, tmp_path: Path
) -> None:
    dataset, data = read_dataset(SAMPLE), tmp_path / "data.csv"
    dataset.labels[cut_test(dataset)[1]] = 0
    write_rows(dataset, np.arange(len(dataset.texts)), data)
    done = distill(python, data, "--teacher", tmp_path, "--out", tmp_path / "said")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: data.csv: the test part, 192 of 640 tweets, holds one")


def test_a_teacher_that_cannot_be_loaded_is_named(python: Path, tmp_path: Path) -> None:
    done = distill(python, SAMPLE, "--teacher", tmp_path, "--out", tmp_path / "said")
    assert done.returncode == 2
    assert f"--teacher {tmp_path}" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_teachers_say_does_not_replace_the_data(python: Path, tmp_path: Path) -> None:
    data = shutil.copy(SAMPLE, tmp_path)
    done = distill(python, Path(data), "--teacher", tmp_path, "--out", data)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{data} is the labelled data" in done.stderr
    assert Path(data).read_bytes() == SAMPLE.read_bytes()
