"""Score an archive of tweets in Spark: `spark-submit deploy/spark/score.py --help`."""

import argparse
from pathlib import Path

from pyspark.sql import SparkSession

from shared.bundle.files import verify_bundle
from trainer.spark import score


def main() -> None:
    """Read the arguments, score, and write."""
    parser = argparse.ArgumentParser(description="Score an archive of tweets in Spark.")
    parser.add_argument("input", help="a path or URL that Spark can read")
    parser.add_argument("output", help="a path or URL that Spark can write, as Parquet")
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--format", choices=("csv", "json", "parquet"), default="json")
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument("--threshold", type=float, metavar="T", help="default: the bundle's own")
    arguments = parser.parse_args()
    threshold = arguments.threshold
    if threshold is None:
        threshold = verify_bundle(arguments.bundle).threshold
    spark = SparkSession.builder.appName("tweet-triage").getOrCreate()
    options = {"header": True, "multiLine": True} if arguments.format == "csv" else {}
    tweets = spark.read.load(arguments.input, arguments.format, **options)
    scored = score(tweets, arguments.text_column, arguments.bundle, threshold)
    scored.write.parquet(arguments.output)
    spark.stop()


if __name__ == "__main__":
    main()
