"""Logs on standard error, as text or as one JSON object a line. docs/observing.md has the table of events.

A message is the same words each time it is logged; whatever varies is a field beside it. Who a peer is and where it
comes from is only ever in the fields `peer`, `other` and `address`, and here is the one place that shows them: with
`--log-peers`, or at debug. No line has a key, an offer or a nonce, ever.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

from p2p_core.printable import printable

__all__ = ["FORMATS", "LEVELS", "few_of_libraries", "fields", "formatter", "set_up", "stamp", "visits"]

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

visits = logging.getLogger("p2p_server.visits")
"""Where it is told, at info, which peers come, meet and go: heard only where peers are shown."""

_PERIOD = 60.0  # s
_LINES = 10  # of each library in each period: what a stranger sends makes gRPC log tracebacks
_OURS = "p2p_server"

_log = logging.getLogger(__name__)

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_OF_PEERS = frozenset(("peer", "other", "address"))
_PLAIN = re.compile(r"[^\s\"=\\]+")  # a value that needs no quotes


def stamp(seconds: float) -> str:
    """Return a time (s since 1970) in ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def fields(event: str, **values: object) -> dict[str, object]:
    """Return the `extra` of a log call: the stable name of what happened, and what is to be known of it.

    Numbers stay numbers in JSON, everything else is shown as `str` has it, and None is left out.
    """
    return {"event": event, "fields": values}


def set_up(form: str, level: str, show_peers: bool = False) -> None:
    """Write this program's log from `level` on, and what other libraries warn of, to standard error."""
    show_peers = show_peers or level == "debug"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(form, show_peers))
    handler.addFilter(few_of_libraries())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(_OURS).setLevel(level.upper())
    visits.setLevel(logging.NOTSET if show_peers else logging.WARNING)


def formatter(form: str, show_peers: bool) -> logging.Formatter:
    """Return what makes lines of records, with or without the fields that tell who and where a peer is."""
    hidden = frozenset() if show_peers else _OF_PEERS
    return _JsonFormatter(hidden) if form == "json" else _TextFormatter(hidden)


def few_of_libraries(now: Callable[[], float] = time.monotonic) -> Callable[[logging.LogRecord], bool]:
    """Return a filter that lets all our own lines pass, and a few a minute of each library."""
    counted: dict[str, tuple[float, int]] = {}  # by library: since when, and how many

    def passes(record: logging.LogRecord) -> bool:
        library = record.name.partition(".")[0]
        if library == _OURS:
            return True
        since, count = counted.get(library, (now(), 0))
        if now() - since >= _PERIOD:
            since, count = now(), 0
        counted[library] = since, count + 1
        if count == _LINES:
            muted = fields(event="library-muted", library=library)
            _log.warning("what else this library logs within this minute is left out", extra=muted)
        return count < _LINES

    return passes


class _Formatter(logging.Formatter):
    """Knows which fields of a record to show."""

    def __init__(self, hidden: frozenset[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._hidden = hidden

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 – logging's own name
        return stamp(record.created)

    def _shown(self, record: logging.LogRecord) -> dict[str, object]:
        values: dict[str, object] = getattr(record, "fields", {})
        return {name: _plain(value) for name, value in values.items() if name not in self._hidden and value is not None}


class _TextFormatter(_Formatter):
    """Time (ISO 8601, UTC), level, logger and message, and then the event and its fields as `key=value`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 – logging's own name
        line = printable(super().formatMessage(record))  # a library may log what a stranger has sent
        if (event := getattr(record, "event", None)) is not None:
            pairs = {"event": event} | self._shown(record)
            line += "".join(f" {name}={_quoted(str(value))}" for name, value in pairs.items())
        return line

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 – logging's own name
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).splitlines())


class _JsonFormatter(_Formatter):
    """`time` (ISO 8601, UTC), `level`, `logger`, `event`, `message`, the fields, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if (event := getattr(record, "event", None)) is not None:
            line["event"] = event
        line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | self._shown(record))


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float) else str(value)


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) and value.isprintable() else json.dumps(value)
