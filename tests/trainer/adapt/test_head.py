import numpy as np

from shared.text.tokens import MOST_NGRAMS, Features
from trainer.adapt.head import TRUST, Learner, TextFeatures

WORDS = 12


def features(*rows: list[int]) -> TextFeatures:
    """Make texts of word ids; each word has an n-gram and a vector of its own."""
    draw = np.random.default_rng(0)
    ngrams = np.zeros((WORDS, MOST_NGRAMS), np.int32)
    ngrams[2:, 0] = np.arange(2, WORDS)
    vectors = draw.normal(0, 1, (WORDS, 4)).astype(np.float32)
    found = Features(np.arange(WORDS, dtype=np.int32), ngrams, vectors)
    ids = np.concatenate([np.array(row, np.int32) for row in rows])
    return TextFeatures(ids, np.array([len(row) for row in rows]), found, WORDS)


ROWS = np.arange(6)
TEXTS = features([2, 5], [2, 6], [2, 7], [3, 5], [3, 6], [3, 7])
LABELS = np.array([1, 1, 1, 0, 0, 0], np.int8)
PRIOR = np.array([0.5, -0.5, 1, 0.5, -0.5, 1], np.float32)
EVERYWHERE = np.ones(6, np.bool_)
REFERENCES = features([2, 8], [9, 10], [3, 11])


def test_the_head_is_what_the_learner_predicts_by() -> None:
    for references in (None, REFERENCES):
        learner = Learner(TEXTS, PRIOR, EVERYWHERE, references)
        expected = learner.logits(ROWS, LABELS)
        found = learner.trust * PRIOR + TEXTS.apply(learner.head(LABELS))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found[:3].min() > found[3:].max()


def test_labels_of_some_rows_are_read_alone() -> None:
    learner = Learner(TEXTS, PRIOR, EVERYWHERE)
    rows = np.array([0, 1, 3, 4])
    others = np.where(np.isin(ROWS, rows), LABELS, 1 - LABELS).astype(np.int8)
    np.testing.assert_array_equal(learner.logits(rows, LABELS), learner.logits(rows, others))


def test_references_keep_their_opinion() -> None:
    free = Learner(TEXTS, PRIOR, EVERYWHERE).head(LABELS)
    bound = Learner(TEXTS, PRIOR, EVERYWHERE, REFERENCES).head(LABELS)
    assert np.abs(REFERENCES.apply(bound)).max() < 0.5 * np.abs(REFERENCES.apply(free)).max()


def test_labels_out_of_scope_teach_nothing_and_their_texts_keep_the_prior() -> None:
    scope = np.array([1, 1, 0, 1, 1, 0], np.bool_)
    learner = Learner(TEXTS, PRIOR, scope)
    flipped = np.where(scope, LABELS, 1 - LABELS).astype(np.int8)
    one, other = (learner.head(labels) for labels in (LABELS, flipped))
    np.testing.assert_allclose(one.words, other.words, atol=1e-9)
    kept = learner.logits(ROWS, LABELS)[~scope]
    np.testing.assert_allclose(kept, TRUST * PRIOR[~scope], atol=1e-9)


def test_labels_against_a_firm_prior_and_each_other_are_learned() -> None:
    """Newton's method diverges here with full steps."""
    draw = np.random.default_rng(0)
    texts = features(*([2 + n % 2, 5 + n % 3] for n in range(60)))
    labels = (np.arange(60) % 2 == 0).astype(np.int8)
    labels[draw.choice(60, 6, replace=False)] ^= 1
    prior = np.where(np.arange(60) % 2 == 0, -8, 8).astype(np.float32)
    learner = Learner(texts, prior, np.ones(60, np.bool_))
    logits = learner.logits(np.arange(60), labels)
    gradient = labels - 1 / (1 + np.exp(-logits))
    found = TRUST * prior + learner._kernel @ gradient  # what holds at the mode
    np.testing.assert_allclose(found, logits, atol=1e-3)
