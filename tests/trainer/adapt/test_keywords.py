from trainer.adapt.keywords import MOST_FREQUENT_TOGETHER, choose_keywords

VOCABULARY = 8000


def test_the_words_of_a_crisis_are_found_and_common_words_are_not() -> None:
    texts = [{"the", "fire", "zorbia", f"word{n}"} for n in range(30)]
    texts += [{"the", "help", "zorbiafire", f"other{n}"} for n in range(10)]
    ranks = {"the": 2, "fire": 20, "help": 90}
    assert choose_keywords(texts, ranks, VOCABULARY) == ["zorbia", "zorbiafire"]


def test_placeholders_are_no_keywords() -> None:
    assert choose_keywords([{"xxurl", f"word{n}"} for n in range(30)], {}, VOCABULARY) == []


def test_texts_with_nothing_in_common_have_no_keywords() -> None:
    assert choose_keywords([{f"word{n}"} for n in range(30)], {}, VOCABULARY) == []


def test_words_that_together_are_frequent_elsewhere_are_not_all_taken() -> None:
    ranks = {f"word{n}": 300 + n for n in range(20)}
    texts = [{f"word{n}"} for n in range(20) for _ in range(10)]
    chosen = choose_keywords(texts, ranks, VOCABULARY)
    assert 0 < len(chosen) < 20
    assert sum(1.4 / ranks[word] for word in chosen) <= MOST_FREQUENT_TOGETHER
