"""Kafka Connect's Twitter source of 2016 (API v1.1), whose fields are in camel case.

https://github.com/jcustenborder/kafka-connect-twitter
"""

from typing import Any

from worker.messages import fields
from worker.messages.fields import child, first_text
from worker.messages.tweet import Notice, Tweet, checked_text


def detect(record: dict[str, Any]) -> bool:
    """Return whether a record is a status of the connector, or its notice of a deletion."""
    return ("Text" in record and bool({"Id", "User", "CreatedAt"} & record.keys())) or (
        record.keys() == {"StatusId", "UserId"}
    )


def read(record: dict[str, Any]) -> Tweet | Notice | None:
    """Read the status."""
    if "StatusId" in record:
        return Notice("delete")
    if (text := first_text(record, "Text")) is None:
        return None
    position = child(record, "GeoLocation")
    return Tweet(
        checked_text(text),
        fields.identifier(record.get("Id")),
        fields.identifier(child(record, "User").get("ScreenName")),
        fields.created_at(record.get("CreatedAt")),
        fields.language(record.get("Lang")),
        fields.place(record.get("Place")),
        fields.coordinates(position.get("Longitude"), position.get("Latitude")),
    )
