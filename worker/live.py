"""Live figures: precision and recall of each version, from the topics of review tweets and labels.

The desk estimates the same from its database.
"""

from collections.abc import Callable, Iterable

from shared.errors import UsageError
from shared.live import LiveFigures
from worker.desk.estimate import Stratum, estimate
from worker.kafka.follow import read_decoded
from worker.labels import settle_labels
from worker.messages.label import Label, Verdict
from worker.messages.review import ReviewTweet, decode_review_tweet
from worker.settings import Settings


def read_review_tweets(settings: Settings, warn: Callable[[str], object]) -> list[ReviewTweet]:
    """Read the review tweets that the topic has now.

    Args:
        warn: is called with a line about each record that is not a review tweet.

    Raises:
        DependencyError: from Kafka, or if there is no such topic.
        UsageError: if no topic is set.
    """
    if settings.review_topic is None:
        raise UsageError(
            "TRIAGE_REVIEW_TOPIC is not set; expected the topic in which workers publish review "
            "tweets: precision and recall are estimated from them"
        )
    return list(read_decoded(settings, settings.review_topic, decode_review_tweet, warn))


def live_figures(reviews: Iterable[ReviewTweet], labels: Iterable[Label]) -> list[LiveFigures]:
    """Estimate precision and recall of each version that scored review tweets, by its number.

    Args:
        reviews: the same tweet may occur twice, as it does with at-least-once delivery.
        labels: those of one tweet in their order.
    """
    verdicts = {tweet.alert_id: tweet.label for tweet in settle_labels(labels)[0]}
    versions: dict[tuple[int, str, str], dict[str, ReviewTweet]] = {}
    for review in reviews:
        key = review.model.version, review.model.name, review.model.digest
        versions.setdefault(key, {}).setdefault(review.alert_id, review)
    return [
        _figures(name, version, digest, found.values(), verdicts)
        for (version, name, digest), found in sorted(versions.items())
    ]


def _figures(
    name: str,
    version: int,
    digest: str,
    reviews: Iterable[ReviewTweet],
    verdicts: dict[str, Verdict],
) -> LiveFigures:
    strata = {True: Stratum(), False: Stratum()}
    for review in reviews:
        is_alert = review.probability >= review.threshold
        weight = 1 / review.inclusion_probability
        verdict = verdicts.get(review.alert_id)
        strata[is_alert] = _add(strata[is_alert], weight, verdict)
    found = estimate(name, strata[True], strata[False])
    return LiveFigures(
        model=name,
        version=version,
        digest=digest,
        tweets=found.tweets,
        labelled=found.labelled,
        precision=found.precision,
        recall=found.recall,
    )


def _add(stratum: Stratum, weight: float, verdict: Verdict | None) -> Stratum:
    """Return the sums with one more tweet."""
    labelled, relevant = verdict is not None, verdict == "relevant"
    return Stratum(
        stratum.weight + weight,
        stratum.squares + weight**2,
        stratum.labelled + labelled,
        stratum.labelled_weight + weight * labelled,
        stratum.labelled_squares + weight**2 * labelled,
        stratum.relevant_weight + weight * relevant,
        stratum.relevant_squares + weight**2 * relevant,
    )
