"""What was logged, as its reader would see it."""

import json
import logging

import pytest
from p2p_server import logs

Event = dict[str, object]


def events(caplog: pytest.LogCaptureFixture, *names: str, show_peers: bool = True) -> list[Event]:
    """Return our records as JSON has them, of these events or of all; all fields, unless peers are not shown."""
    formatter = logs.formatter("json", show_peers)
    records = [record for record in caplog.records if record.name.startswith("p2p_server")]
    found: list[Event] = [json.loads(formatter.format(record)) for record in records]
    return [event for event in found if not names or event["event"] in names]


def lines(caplog: pytest.LogCaptureFixture, show_peers: bool, level: int = logging.DEBUG) -> str:
    """Return our records from `level` on as text."""
    formatter = logs.formatter("text", show_peers)
    return "\n".join(formatter.format(record) for record in caplog.records if record.levelno >= level)
