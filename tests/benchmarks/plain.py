"""A bundle's model as one would use it without this project's encoder: spaCy, Keras, `predict`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from shared.bundle import PIPELINE, VOCABULARY, WEIGHTS, read_manifest
from shared.models import Floats, build_model, import_keras, set_weights
from shared.text import UNKNOWN_ID, filtered_words, pipeline_from_bytes, rewrite_chunk

LENGTH = 140
"""Ids that the article pads each tweet to."""


class PlainModel:
    """The same probabilities as the bundle's scorer gives, by the plain path."""

    def __init__(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        self._calibration, self.threshold = manifest.calibration, manifest.threshold
        self._rewrite = manifest.text.rewrite
        self._pipeline = pipeline_from_bytes((bundle / PIPELINE).read_bytes())
        words = json.loads((bundle / VOCABULARY).read_text("utf-8"))
        self._ids = {word: number for number, word in enumerate(words)}
        self._model = build_model(manifest.architecture)
        set_weights(self._model, load_file(bundle / WEIGHTS))
        self._pad = import_keras().utils.pad_sequences

    def one(self, text: str) -> float:
        """A tweet's probability, as a notebook computes it."""
        lemmas = [token.lemma_ for token in self._pipeline(self._rewritten(text))]
        padded = self._pad([self._ids_of(lemmas)], maxlen=LENGTH, padding="post")
        return float(self._probabilities(np.ravel(self._model.predict(padded, verbose=0)))[0])

    def many(self, texts: Sequence[str], batch_size: int) -> Floats:
        """Many tweets' probabilities, as a knowledgeable user computes them, float32, (texts,)."""
        docs = self._pipeline.pipe(map(self._rewritten, texts), batch_size=1000)
        rows = [self._ids_of([token.lemma_ for token in doc]) for doc in docs]
        padded = self._pad(rows, padding="post")  # as long as the longest needs
        logits = self._model.predict(padded, batch_size=batch_size, verbose=0)
        return self._probabilities(np.ravel(logits))

    def _rewritten(self, text: str) -> str:
        return " ".join(map(rewrite_chunk, text.split(" "))) if self._rewrite else text

    def _ids_of(self, lemmas: Sequence[str]) -> list[int]:
        words = filtered_words(" ".join(lemmas))
        return [self._ids.get(word, UNKNOWN_ID) for word in words] or [UNKNOWN_ID]

    def _probabilities(self, logits: Floats) -> Floats:
        return self._calibration.probabilities(logits)
