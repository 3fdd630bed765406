"""Logs on standard error, as text or as one JSON object a line.

Down to info no line has an address or a whole peer id, but for the name of a key file that is passed over; none ever
has a key, an offer or a nonce.
"""

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["FORMATS", "LEVELS", "set_up"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


class _JsonFormatter(logging.Formatter):
    """`time` (ISO 8601, UTC), `level`, `logger`, `message`, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(form: str, level: str) -> None:
    """Write this program's log from `level` on, and what other libraries warn of, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("p2p_server").setLevel(level.upper())
