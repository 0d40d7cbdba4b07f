"""The Spark job in local mode: the same decisions as `predict`, row by row."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shared.bundle.load import load_bundle
from tests.conftest import ROOT, SAMPLE, Trained
from tests.missing import skip_or_fail

pytestmark = pytest.mark.slow


@pytest.fixture
def submit() -> list[str]:
    """Return the command that submits the job to a local Spark."""
    missing = [] if shutil.which("java") else ["Java"]
    try:
        import pyspark  # noqa: F401  # its programs are used
    except ModuleNotFoundError:
        missing.append("pyspark")
    if missing:
        skip_or_fail(f"{' and '.join(missing)} is not installed")
    program = Path(sys.executable).parent / "spark-submit"
    job = ROOT / "deploy" / "spark" / "score.py"
    return [str(program), "--master", "local[2]", "--conf", "spark.ui.enabled=false", str(job)]


def test_every_row_is_scored_as_predict_scores_it(
    submit: list[str], trained: Trained, tmp_path: Path
) -> None:
    texts = [*pd.read_csv(SAMPLE)["text"].tolist(), "", None, "  ", "fire 🔥 near\nLa Ronge"]
    rows = [{"id": n, "text": text} for n, text in enumerate(texts)]
    lines = tmp_path / "tweets.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = trained.bundles / "LSTM"
    environment = os.environ | {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [*submit, str(lines), str(tmp_path / "scored"), "--bundle", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]

    scored = pd.read_parquet(tmp_path / "scored").sort_values("id", ignore_index=True)
    assert [t if isinstance(t, str) else None for t in scored["text"]] == texts
    bundle = load_bundle(folder)
    filled = [bool((text or "").strip()) for text in texts]
    expected = bundle.scorer.score(
        [text for text, is_filled in zip(texts, filled, strict=True) if is_filled]
    )
    assert scored["probability"].isna().tolist() == [not is_filled for is_filled in filled]
    np.testing.assert_allclose(scored["probability"][filled], expected, rtol=0, atol=1e-6)
    relevant = expected >= bundle.manifest.threshold
    assert scored["relevant"][filled].tolist() == relevant.tolist()
    assert scored["relevant"][~np.array(filled)].isna().all()
    assert set(scored["model"]) == {f"LSTM {bundle.digest}"}
