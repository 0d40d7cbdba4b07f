"""Spark: score the texts of a DataFrame that is larger than one machine."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark import SparkFiles
from pyspark.sql import DataFrame
from pyspark.sql.functions import col, lit, pandas_udf

from shared.bundle.files import digest_of, verify_bundle
from shared.bundle.load import Bundle, load_bundle

_ARCHIVE = "tweet-triage-bundle"


def score(tweets: DataFrame, text_column: str, bundle: Path, threshold: float) -> DataFrame:
    """Add the model's decision to each row.

    The project must be installed on the executors. Each of their Python workers loads the bundle
    once and scores its partitions in Arrow batches.

    Args:
        tweets: rows with a column of texts.
        bundle: the folder of a bundle on the driver, which sends it to the executors.
        threshold: the lowest probability of a relevant tweet.

    Returns:
        The rows with three more columns: `probability` (float) as `triage-trainer predict` gives
        it, `relevant` (boolean), both null for an empty text, and `model` (string), the name and
        the digest of the bundle.

    Raises:
        BundleError: if the bundle does not verify.
    """
    manifest = verify_bundle(bundle)
    folder = tempfile.mkdtemp(prefix="triage-spark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # executors fetch it until then
    archive = shutil.make_archive(str(Path(folder) / _ARCHIVE), "zip", bundle)
    tweets.sparkSession.sparkContext.addArchive(f"{archive}#{_ARCHIVE}")
    probability = pandas_udf(_probabilities, "float")(col(text_column))
    return (
        tweets.withColumn("probability", probability)
        .withColumn("relevant", col("probability") >= lit(threshold))
        .withColumn("model", lit(f"{manifest.name} {digest_of(bundle)}"))
    )


@functools.cache
def _bundle() -> Bundle:
    """Load the bundle that the driver has sent, once in each Python worker."""
    return load_bundle(Path(SparkFiles.get(_ARCHIVE)))


def _probabilities(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
    for texts in batches:
        scored = pd.Series(float("nan"), index=texts.index, dtype="float32")  # NaN becomes null
        filled = texts.fillna("").str.strip() != ""
        if filled.any():
            scored[filled] = _bundle().scorer.score(texts[filled].tolist())
        yield scored
