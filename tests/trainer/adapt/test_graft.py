from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from shared.arrays import Floats
from shared.model.architecture import Architecture, Weights, weight_shapes
from shared.model.numpy_model import NumpyModel
from shared.text.encoder import UNKNOWN_TOKEN, EncodedTexts, TokenTable
from shared.text.tokens import NGRAM_BUCKETS, Featurizer, WordVectors
from trainer.adapt.graft import Graft
from trainer.adapt.head import Head, TextFeatures

WORDS = ["", "xxunknown", *(f"w{n}" for n in range(60)), "zorbia"]
KEYWORD = WORDS.index("zorbia")
RECURRENT = ("lstm", "bidirectional-lstm")


class Small:
    """A network with random weights, and random texts for it."""

    def __init__(self, kind: str, hidden: int = 0) -> None:
        draw = np.random.default_rng(1)
        self.spec = Architecture(
            kind=kind,  # type: ignore[arg-type]
            num_words=len(WORDS),
            embedding=8,
            length=20,
            masked=True,
            summary="mean-max",
            units=0 if kind == "feed-forward" else 6,
            hidden=hidden,
            ngrams=7,
            vectors=5,
        )
        self.weights: Weights = {
            path: draw.normal(0, 0.3, shape).astype(np.float32)
            for path, shape in weight_shapes(self.spec).items()
        }
        vectors = WordVectors(WORDS[2:], draw.normal(0, 1, (len(WORDS) - 2, 5)).astype(np.float16))
        self.featurizer = Featurizer(WORDS, vectors)
        self.tokens = [UNKNOWN_TOKEN, *((word, word) for word in WORDS[2:])]
        self.head = Head(
            draw.normal(0, 2, len(WORDS)),
            draw.normal(0, 1, NGRAM_BUCKETS + 1),
            draw.normal(0, 1, 5),
            0.7,
        )

    def texts(self, *rows: list[int]) -> EncodedTexts:
        """Encode texts of word ids, which are the token numbers too."""
        ids = np.concatenate([np.array(row, np.int32) for row in rows])
        table = TokenTable(self.featurizer, lambda f: np.zeros((len(f.words), 0), np.float32))
        return EncodedTexts(ids, np.array([len(row) for row in rows], np.int32), table)

    def random_texts(self, seed: int) -> EncodedTexts:
        draw = np.random.default_rng(seed)
        return self.texts(*(draw.integers(2, 50, size).tolist() for size in range(1, 20)))

    def logits(self, texts: EncodedTexts, weights: Weights) -> Floats:
        model = NumpyModel(self.spec, weights)
        table = TokenTable(self.featurizer, model.precompute)
        table.numbers(self.tokens)
        table.complete()
        return model.logits(model.pad(EncodedTexts(texts.ids, texts.lengths, table)))

    def added(self, texts: EncodedTexts) -> npt.NDArray[np.float64]:
        """Compute what the head adds to each text, from its features."""
        padded = self.featurizer(self.tokens).after_padding()
        lengths = texts.lengths.astype(np.int64)
        return TextFeatures(texts.ids, lengths, padded, len(WORDS)).apply(self.head)

    def graft(self) -> Graft:
        texts = self.random_texts(3)
        return Graft(self.spec, self.weights, lambda weights: self.logits(texts, weights))


@pytest.fixture(params=["feed-forward", "feed-forward with a hidden layer", *RECURRENT])
def small(request: pytest.FixtureRequest) -> Small:
    kind, _, hidden = request.param.partition(" with ")
    return Small(kind, 12 if hidden else 0)


def test_shapes_stay_as_they_are(small: Small) -> None:
    weights = small.graft().with_head(small.head, 1.0, [KEYWORD])
    assert {path: (w.shape, w.dtype) for path, w in weights.items()} == {
        path: (w.shape, w.dtype) for path, w in small.weights.items()
    }


def test_the_base_is_left_alone(small: Small) -> None:
    before = {path: weight.copy() for path, weight in small.weights.items()}
    graft = small.graft()
    without = {path: weight.copy() for path, weight in graft.weights.items()}
    graft.with_head(small.head, 1.0, [KEYWORD])
    for kept, weights in ((before, small.weights), (without, graft.weights)):
        for path, weight in weights.items():
            np.testing.assert_array_equal(weight, kept[path])


def test_a_head_without_keywords_counts_in_every_text(small: Small) -> None:
    graft, texts = small.graft(), small.random_texts(4)
    found = small.logits(texts, graft.with_head(small.head, 1.5, []))
    expected = small.logits(texts, graft.weights) + 1.5 * small.added(texts)
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda row: [KEYWORD, *row], id="first"),
        pytest.param(lambda row: [*row, KEYWORD], id="last"),
        pytest.param(lambda row: [*row[:3], KEYWORD, *row[3:]], id="within"),
        pytest.param(lambda row: [KEYWORD, *row[:4], KEYWORD, *row[4:]], id="twice"),
    ],
)
def test_a_head_counts_wherever_the_keyword_stands(
    kind: str, put: Callable[[list[int]], list[int]]
) -> None:
    small = Small(kind)
    graft, draw = small.graft(), np.random.default_rng(5)
    texts = small.texts(*(put(draw.integers(2, 50, size).tolist()) for size in range(1, 18)))
    found = small.logits(texts, graft.with_head(small.head, 1.5, [KEYWORD]))
    expected = small.logits(texts, graft.weights) + 1.5 * small.added(texts)
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_head_does_not_count_in_texts_without_a_keyword(kind: str) -> None:
    small = Small(kind)
    graft, texts = small.graft(), small.random_texts(6)
    found = small.logits(texts, graft.with_head(small.head, 1.5, [KEYWORD]))
    assert np.abs(small.added(texts)).max() > 0.5
    np.testing.assert_allclose(found, small.logits(texts, graft.weights), atol=2e-3)


@pytest.mark.parametrize("kind", RECURRENT)
def test_what_says_nothing_is_given_up_first(kind: str) -> None:
    small = Small(kind)
    units, directions = small.spec.units, RECURRENT.index(kind) + 1
    cell = ("lstm" if directions == 1 else "bidirectional/forward_lstm") + "/lstm_cell"
    for unit in (2, 4):
        small.weights["output/kernel"][[unit, directions * units + unit]] = 0
        small.weights[f"{cell}/recurrent_kernel"][unit] = 0
    for path, free in (("embedding/embeddings", 2), ("ngrams/embeddings", 1)):
        small.weights[path][:, -free:] = 0
    texts = small.random_texts(7)
    before = small.logits(texts, small.weights)
    np.testing.assert_allclose(small.logits(texts, small.graft().weights), before, atol=1e-4)
