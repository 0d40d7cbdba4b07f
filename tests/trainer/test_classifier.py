"""The Python API, and the notebook that shows it."""

from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

from shared.bundle.load import Bundle
from shared.bundle.quality import OPERATING_POINTS
from shared.errors import BundleError, RegistryError
from shared.registry.folder import FolderRegistry
from tests.conftest import ROOT, Trained
from trainer.classifier import Classifier

TEXTS = ["Forest fire near La Ronge", "This mixtape is fire", "water is up to the windows"]


@pytest.mark.usefixtures("environment")
class TestClassifier:
    def test_version_of_the_registry(self, registry: FolderRegistry, bundle: Bundle) -> None:
        for asked in ("production", "1", 1):
            model = Classifier.open(asked)
            assert (model.name, model.version) == (bundle.manifest.name, 1)
            assert model.score(TEXTS).tolist() == bundle.scorer.score(TEXTS).tolist()
        with pytest.raises(RegistryError, match="7"):
            Classifier.open(7)
        assert registry.resolve("1").manifest == Classifier.open().manifest

    def test_bundle_of_a_folder(self, trained: Trained, tmp_path: Path) -> None:
        model = Classifier.load(trained.bundles / "LSTM")
        assert (model.name, model.version) == ("LSTM", None)
        with pytest.raises(BundleError):
            Classifier.load(tmp_path)

    def test_column_with_gaps(self) -> None:
        model = Classifier.open()
        column = pd.Series([TEXTS[0], None, " ", TEXTS[1], float("nan")], index=[9, 8, 7, 6, 5])
        found = model.score(column)
        assert found.dtype == np.float32
        assert np.isnan(found).tolist() == [False, True, True, False, True]
        assert found[[0, 3]].tolist() == model.score(TEXTS[:2]).tolist()
        assert model.is_relevant(column, 0.0).tolist() == [True, False, False, True, False]
        assert model.score([]).shape == (0,)

    def test_thresholds(self) -> None:
        model = Classifier.open()
        assert model.threshold == model.manifest.threshold == model.threshold_at("balanced")
        assert model.threshold_at(0.25) == 0.25
        expected = model.score(TEXTS) >= model.threshold
        assert model.is_relevant(TEXTS).tolist() == expected.tolist()
        for point in OPERATING_POINTS:
            if point in model.manifest.operating_points:
                assert model.threshold_at(point) == model.manifest.operating_points[point].threshold
        with pytest.raises(BundleError, match="often"):
            model.threshold_at("often")

    def test_progress_is_told_batch_by_batch(self) -> None:
        done: list[int] = []
        Classifier.open().score([*TEXTS, ""] * 500, done.append)
        assert done == [1024, 476]


@pytest.mark.usefixtures("environment")
def test_notebook_runs() -> None:
    notebook = nbformat.read(ROOT / "trainer" / "classifier.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert all(not cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": ROOT}}
    )
    client.execute()
    outputs = [
        "".join(o["data"]["text/plain"] for o in c.outputs)
        for c in notebook.cells
        if c.get("outputs")
    ]
    assert "1)" in outputs[0]
    assert "dtype=float32" in outputs[1]
    assert "NaN" in outputs[2]
    assert "roc_auc" in outputs[-1]
