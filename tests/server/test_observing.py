"""docs/observing.md says what the code does: every metric, every event, every field."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import p2p_server
from p2p_server.metrics import Metrics, watch_mediator

from tests.server.scraped import families

PAGE = Path(__file__).parents[2] / "docs" / "observing.md"
SOURCE = Path(p2p_server.__file__).parent
LOGGERS = ("_log", "visits")
CALLS = ("debug", "info", "warning", "error", "exception", "log")


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table on the page whose first column is called so."""
    lines = iter(PAGE.read_text().splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([^`]+)`", cell))


def all_metrics() -> bytes:
    """Render metrics in which everything has happened."""
    metrics = Metrics()
    metrics.store_asked("claim", 0)
    metrics.store_failed("claim")
    watch_mediator(
        metrics,
        peers=lambda: 0,
        peers_waiting=lambda: 0,
        unauthenticated_streams=lambda: 0,
        relays=lambda: 0,
        store_up=lambda: 0,
        draining=lambda: 0,
        tasks=lambda: 0,
        stun_connections=lambda: 0,
        connections_allowed=lambda: 0,
    )
    return metrics.render()


def test_every_metric_is_on_the_page() -> None:
    rendered = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in families(all_metrics())
        if family.name.startswith("punchwire_")
    }
    written = {name.strip("`"): (kind, names(labels)) for name, kind, labels, _, _ in table("metric")}
    assert rendered == written


def test_every_alert_is_about_a_metric_there_is() -> None:
    series = {sample.name for family in families(all_metrics()) for sample in family.samples}
    rules = re.findall(r"expr: (.*)", PAGE.read_text())
    assert rules
    for rule in rules:
        used = set(re.findall(r"\b(?:punchwire|process)_\w+", rule))
        assert used
        assert used <= series


@dataclass(frozen=True, slots=True)
class Event:
    """What the source logs in one place."""

    name: str
    level: str | None  # None: it depends
    fields: frozenset[str]
    of_visits: bool


def logged() -> Iterator[Event]:
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        made = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and is_fields(node.value)]
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=logger), attr=method)) if (
                    logger in LOGGERS and method in CALLS
                ):
                    yield event(f"{path.name}:{node.lineno}", node, made)


def is_fields(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fields"


def event(where: str, call: ast.Call, made: list[ast.Assign]) -> Event:
    """Read one call: `_log.info("constant message", extra=fields(event="constant", ...))`.

    What `fields` returned may have got a name on one of the lines before, as `made` tells.
    """
    assert isinstance(call.func, ast.Attribute)
    assert isinstance(call.func.value, ast.Name)
    method = call.func.attr
    assert len(call.args) == (2 if method == "log" else 1), f"{where}: a message has no arguments"
    assert isinstance(call.args[-1], ast.Constant), f"{where}: a message is the same words each time"
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    if isinstance(extra, ast.Name):
        known = [one.value for one in made if one.lineno < call.lineno and ast.unparse(one.targets[0]) == extra.id]
        extra = known[-1] if known else None
    assert extra is not None, f"{where}: an event and its fields are missing"
    assert is_fields(extra), f"{where}: an event and its fields are missing"
    assert isinstance(extra, ast.Call)
    values = {str(keyword.arg): keyword.value for keyword in extra.keywords}
    name = extra.args[0] if extra.args else values.pop("event")
    assert isinstance(name, ast.Constant), f"{where}: an event is the same word each time"
    level = {"exception": "error", "log": None}.get(method, method)
    return Event(str(name.value), level, frozenset(values), call.func.value.id == "visits")


def test_every_event_is_on_the_page() -> None:
    written = {name.strip("`"): (level, names(fields)) for name, level, fields, _ in table("event")}
    found = list(logged())
    assert {event.name for event in found} == written.keys()
    for event in found:
        level, fields = written[event.name]
        assert event.fields == fields, event.name
        assert event.of_visits == level.endswith(r"\*"), event.name
        if event.level is not None:
            assert event.level in re.findall(r"\w+", level), event.name


def test_every_field_is_on_the_page() -> None:
    written = frozenset[str]().union(*(names(row[0]) for row in table("field")))
    assert written == frozenset[str]().union(*(event.fields for event in logged()))
    assert not written & {"time", "level", "logger", "event", "message", "exception"}


def test_no_logger_goes_by_another_name() -> None:
    """Else its events would not be looked at."""
    for path in SOURCE.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "getLogger" in line and path.name != "logs.py":
                assert line == "_log = logging.getLogger(__name__)", path.name
