"""A label survives its encoding, fits its schema, and is refused where it is none."""

import json

import jsonschema
import pytest

from shared.errors import RecordError
from tests.conftest import ROOT
from tests.desk.alerts import NEWS, new_alert, new_label
from worker.messages.label import decode_label, encode_label, label_key, label_schema


def test_a_label_is_read_back_as_it_was_and_fits_the_schema() -> None:
    label = new_label(new_alert(NEWS[0]), "not-relevant")
    value = encode_label(label)
    assert decode_label(value) == label
    schema = json.loads((ROOT / "deploy" / "label.schema.json").read_text())
    assert schema == label_schema()
    jsonschema.validate(json.loads(value), schema)


def test_labels_of_one_tweet_have_the_same_key() -> None:
    alert = new_alert(NEWS[0])
    assert label_key(alert.source) == alert.alert_id.encode()
    assert label_key(new_label(alert, "skip").source) == label_key(alert.source)


@pytest.mark.parametrize(
    "change",
    [{"label": "maybe"}, {"by": ""}, {"by": "x" * 201}, {"at": "2026-11-30T12:00:00"}, {"text": 5}],
)
def test_what_is_no_label_is_refused(change: dict[str, object]) -> None:
    value = json.loads(encode_label(new_label(new_alert(NEWS[0]), "relevant")))
    with pytest.raises(RecordError, match="is not a label"):
        decode_label(json.dumps(value | change).encode())
