"""A bundle's model as one would use it without this project's encoder: spaCy, Keras, `predict`."""

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from shared.arrays import Floats
from shared.bundle.files import PIPELINE, VECTORS, VOCABULARY, WEIGHTS, read_manifest
from shared.model.keras_model import build_model
from shared.text.encoder import UNKNOWN_TOKEN
from shared.text.lemmas import Token, filtered_words, lemma_table, pipeline_from_bytes
from shared.text.rewrite import rewrite_chunk
from shared.text.tokens import Featurizer, WordVectors

LENGTH = 140
"""Words that the article pads each tweet to."""


class PlainModel:
    """The same probabilities as the bundle's scorer gives, by the plain path.

    It takes bundles whose recipe keeps unknown words, embeds n-grams and masks padding, as `tuned`
    does.
    """

    def __init__(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        self._calibration = manifest.calibration
        self.threshold = manifest.threshold
        self._rewrite = manifest.text.rewrite
        self._most = manifest.architecture.length
        self._pipeline = pipeline_from_bytes((bundle / PIPELINE).read_bytes())
        vocabulary = json.loads((bundle / VOCABULARY).read_text("utf-8"))
        vectors = None
        if manifest.architecture.vectors:
            tensors = load_file(bundle / VECTORS)
            words = tensors["words"].tobytes().decode().split("\n")
            vectors = WordVectors(words, tensors["vectors"])
        lemmas = lemma_table(self._pipeline) if manifest.text.respell else None
        self._featurizer = Featurizer(vocabulary, vectors, lemmas)
        self._model = build_model(manifest.architecture)
        weights = load_file(bundle / WEIGHTS)
        for weight in self._model.weights:
            weight.assign(weights[weight.path])

    def one(self, text: str) -> float:
        """Return a tweet's probability, computed as in a notebook."""
        inputs = self._inputs([self._tokens(self._pipeline(self._rewritten(text)))], LENGTH)
        return float(self._probabilities(self._model.predict(inputs, verbose=0))[0])

    def many(self, texts: Sequence[str], batch_size: int) -> Floats:
        """Return tweets' probabilities, computed as an expert would: float32, shape (texts,)."""
        docs = self._pipeline.pipe(map(self._rewritten, texts), batch_size=1000)
        rows = [self._tokens(doc) for doc in docs]
        inputs = self._inputs(rows, min(self._most, max(map(len, rows))))
        return self._probabilities(self._model.predict(inputs, batch_size=batch_size, verbose=0))

    def _rewritten(self, text: str) -> str:
        return " ".join(map(rewrite_chunk, text.split(" "))) if self._rewrite else text

    def _tokens(self, doc: Any) -> list[Token]:
        """Return lemmas with their forms, cut at the Keras tokenizer's filter characters."""
        tokens: list[Token] = []
        for token in doc:
            words, forms = filtered_words(token.lemma_), filtered_words(token.text)
            tokens += zip(words, forms if len(forms) == len(words) else words, strict=True)
        return tokens[: self._most] or [UNKNOWN_TOKEN]

    def _inputs(self, rows: Sequence[list[Token]], length: int) -> list[Any]:
        """Return the inputs of the Keras model, padded on the right."""
        features = self._featurizer(list(chain.from_iterable(rows)))
        lengths = np.array([len(row) for row in rows])
        there = np.arange(length) < lengths[:, None]
        inputs = []
        for feature in (features.words, features.ngrams, features.vectors):
            padded = np.zeros((len(rows), length, *feature.shape[1:]), feature.dtype)
            padded[there] = feature
            inputs.append(padded)
        return inputs

    def _probabilities(self, logits: Any) -> Floats:
        return self._calibration.probabilities(np.ravel(logits))
