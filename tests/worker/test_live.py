"""Live figures: the same from the topics as from the desk's database."""

from pathlib import Path

import pytest

from shared.bundle.quality import Figure
from shared.errors import UsageError
from tests.desk.alerts import new_alert, new_label, reviewed
from worker.desk.estimate import estimates
from worker.desk.store import Store
from worker.live import live_figures, read_review_tweets
from worker.messages.alert import Model
from worker.messages.label import Label
from worker.messages.review import ReviewTweet
from worker.settings import Settings


def test_figures_are_the_desks(tmp_path: Path) -> None:
    store = Store(tmp_path / "desk.sqlite3")
    reviews: list[ReviewTweet] = []
    labels: list[Label] = []
    for version in (2, 1):
        for number in range(40):
            alert = new_alert(
                f"flood {version} {number}",
                probability=0.8 if number < 10 else 0.2,
                model=Model("LSTM", version, str(version)),
            )
            found = reviewed(alert, inclusion=0.1 if number % 3 else 0.4)
            store.add(reviews=found)
            reviews.append(found[0][0])
            if number % 2 == 0:
                labels.append(new_label(alert, "relevant"))
                if number >= 8 and number % (10 * version):
                    labels.append(new_label(alert, "not-relevant", seconds=1))
            elif number == 9:
                labels.append(new_label(alert, "skip"))
    store.add(labels=[(0, offset, label) for offset, label in enumerate(labels)])
    expected = {one.name: one for one in estimates(store.reader(), "model")}
    store.close()
    found_figures = live_figures([*reviews, reviews[0]], labels)  # one was delivered twice
    assert [(one.version, one.digest) for one in found_figures] == [(1, "1"), (2, "2")]
    for one in found_figures:
        wanted = expected[f"LSTM {one.version}"]
        assert wanted.precision is not None
        assert wanted.recall is not None
        assert one.tweets == pytest.approx(wanted.tweets)
        assert one.labelled == wanted.labelled == 20
        for figure, share in ((one.precision, wanted.precision), (one.recall, wanted.recall)):
            assert isinstance(figure, Figure)
            assert figure.value == pytest.approx(share.value)
            assert (figure.low, figure.high) == pytest.approx((share.low, share.high))
    assert found_figures[0].recall != found_figures[1].recall


def test_without_labels_nothing_is_estimated() -> None:
    ((tweet, _),) = reviewed(new_alert("flood"))
    (figures,) = live_figures([tweet], [])
    assert (figures.tweets, figures.labelled) == (10, 0)
    assert figures.precision is figures.recall is None


def test_topic_of_review_tweets_is_needed() -> None:
    with pytest.raises(UsageError, match="TRIAGE_REVIEW_TOPIC is not set; expected the topic"):
        read_review_tweets(Settings(), print)
