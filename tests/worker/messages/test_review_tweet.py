"""A review tweet survives its encoding, fits its schema, and is refused where it is none."""

import json

import jsonschema
import pytest

from shared.errors import RecordError
from tests.conftest import ROOT
from tests.desk.alerts import NEWS, new_alert
from worker.messages.alert import decode_alert
from worker.messages.review import (
    decode_review_tweet,
    encode_review_tweet,
    make_review_tweet,
    review_schema,
)


def test_a_review_tweet_is_read_back_as_it_was_and_fits_the_schema() -> None:
    alert = new_alert(NEWS[0], probability=0.2)
    tweet = make_review_tweet(alert, "random", 0.001)
    value = encode_review_tweet(tweet)
    assert decode_review_tweet(value) == tweet
    assert decode_alert(value) == alert
    schema = json.loads((ROOT / "deploy" / "review.schema.json").read_text())
    assert schema == review_schema()
    jsonschema.validate(json.loads(value), schema)


@pytest.mark.parametrize(
    "change", [{"reason": "any"}, {"inclusion_probability": 0}, {"inclusion_probability": 1.1}]
)
def test_what_is_no_review_tweet_is_refused(change: dict[str, object]) -> None:
    value = json.loads(encode_review_tweet(make_review_tweet(new_alert(NEWS[0]), "random", 0.5)))
    with pytest.raises(RecordError, match="is not a review tweet"):
        decode_review_tweet(json.dumps(value | change).encode())
