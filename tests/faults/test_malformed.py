import random
import re

import pytest

from shared.errors import RecordError
from tests.conftest import ROOT
from tests.faults.malformed import MALFORMED, malformed
from worker.messages.tweet import decode_tweet


def test_every_reason_has_its_records() -> None:
    source = (ROOT / "shared" / "tweet.py").read_text("utf-8")
    assert set(re.findall(r'RecordError\(\s*"(\w+)"', source)) == MALFORMED.keys()


def test_every_record_is_refused_for_its_reason() -> None:
    choose = random.Random(1)
    met = set()
    for _ in range(2_000):
        reason, value = malformed(choose)
        with pytest.raises(RecordError) as caught:
            decode_tweet(value)
        assert caught.value.reason == reason, (reason, value and value[:100])
        met.add(reason)
    assert met == MALFORMED.keys()
