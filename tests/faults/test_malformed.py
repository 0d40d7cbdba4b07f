import random
import re

import pytest

from shared.errors import RecordError
from tests.conftest import ROOT
from tests.faults.malformed import MALFORMED, malformed
from worker.messages.decode import Decoder

decode = Decoder()


def test_every_reason_has_its_records() -> None:
    sources = (ROOT / "worker" / "messages").rglob("*.py")
    raised = {
        reason
        for source in sources
        if source.name not in ("alert.py", "label.py", "review.py")
        for reason in re.findall(r'RecordError\(\s*"(\w+)"', source.read_text("utf-8"))
    }
    assert raised == MALFORMED.keys()


def test_every_record_is_refused_for_its_reason() -> None:
    choose = random.Random(1)
    met = set()
    for _ in range(2_000):
        reason, value = malformed(choose)
        with pytest.raises(RecordError) as caught:
            decode(value)
        assert caught.value.reason == reason, (reason, value[:100])
        met.add(reason)
    assert met == MALFORMED.keys()
