"""What the tests of texts share: a spaCy pipeline and the sample's texts."""

import csv

import pytest
from spacy.language import Language

from shared.text.lemmas import new_pipeline
from tests.conftest import SAMPLE


@pytest.fixture(scope="module")
def pipeline() -> Language:
    return new_pipeline()


@pytest.fixture(scope="session")
def sample() -> list[str]:
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]
