"""Lines of the log, and who is named in them."""

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address
from p2p_server import logs

from tests.server.clock import ManualClock
from tests.server.logged import events

PEER = PeerId(bytes(range(32)))
OTHER = PeerId(bytes(32))
ADDRESS = Address.of("2001:db8::1", 4000)
OF_PEERS = {"peer": str(PEER), "other": str(OTHER), "address": "[2001:db8::1]:4000"}

log = logging.getLogger("p2p_server.somewhere")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's: leave it as it was."""
    root, ours = logging.getLogger(), logging.getLogger("p2p_server")
    handlers, levels = root.handlers, (root.level, ours.level, logs.visits.level)
    root.handlers = []
    yield
    root.handlers = handlers
    for logger, level in zip((root, ours, logs.visits), levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def err() -> io.StringIO:
    return io.StringIO()


def set_up(err: io.StringIO, form: str, level: str, show_peers: bool = False) -> None:
    with contextlib.redirect_stderr(err):
        logs.set_up(form, level, show_peers)


def say(level: int = logging.INFO, logger: logging.Logger = log) -> None:
    told = logs.fields(event="told", peer=PEER, other=OTHER, address=ADDRESS, count=3, seconds=0.5, why="of a cat")
    logger.log(level, "it is so", extra=told)


def parsed(err: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in err.getvalue().splitlines()]


def test_json(err: io.StringIO) -> None:
    set_up(err, "json", "info")
    say()
    (line,) = parsed(err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(line.pop("time")))
    assert line == {
        "level": "info",
        "logger": "p2p_server.somewhere",
        "event": "told",
        "message": "it is so",
        "count": 3,
        "seconds": 0.5,
        "why": "of a cat",
    }


def test_text(err: io.StringIO) -> None:
    set_up(err, "text", "info")
    say()
    line = err.getvalue()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 INFO p2p_server\.somewhere: ", line)
    assert line.endswith('it is so event=told count=3 seconds=0.5 why="of a cat"\n')


@pytest.mark.parametrize("form", logs.FORMATS)
@pytest.mark.parametrize("level", logs.LEVELS[1:])
def test_nobody_is_named_unless_it_is_asked_for(form: str, level: str, err: io.StringIO) -> None:
    set_up(err, form, level)
    say(logging.ERROR)
    say(logging.ERROR, logs.visits)  # so that it is seen
    assert err.getvalue().count("told") == 2
    for name, value in OF_PEERS.items():
        assert not re.search(rf"\b{name}\b", err.getvalue())
        assert value[:8] not in err.getvalue()


@pytest.mark.parametrize(("level", "show_peers"), [("info", True), ("debug", False), ("debug", True)])
def test_peers_are_named_where_it_is_asked_for(level: str, show_peers: bool, err: io.StringIO) -> None:
    set_up(err, "json", level, show_peers)
    say()
    say(logger=logs.visits)
    for line in parsed(err):
        assert line.items() >= OF_PEERS.items()
    assert len(parsed(err)) == 2


def test_peers_come_and_go_unheard(err: io.StringIO) -> None:
    set_up(err, "text", "info")
    say(logger=logs.visits)
    assert err.getvalue() == ""
    set_up(err, "text", "warning", True)
    say(logger=logs.visits)
    assert err.getvalue() == ""


def test_levels(err: io.StringIO) -> None:
    for at in logs.LEVELS:
        set_up(err, "json", at)
        for level in logs.LEVELS:
            say(getattr(logging, level.upper()))
        assert [line["level"] for line in parsed(err)] == list(logs.LEVELS[logs.LEVELS.index(at) :])
        err.seek(0)
        err.truncate()


@pytest.mark.parametrize("form", logs.FORMATS)
def test_a_value_cannot_make_up_a_line_or_a_field(form: str, err: io.StringIO) -> None:
    set_up(err, form, "info")
    for name in ('a" event=made-up', "a\nb", "a b", "a=b", "", "a\\", "\x1b[2J", "\x9b2J", "\u2028", "\udcff"):
        log.warning("a file", extra=logs.fields(event="told", file=name))
        line = err.getvalue()
        assert line.endswith("\n")
        assert len(line.splitlines()) == 1
        assert line[:-1].isprintable()
        if form == "text":
            told = line.rstrip("\n").partition(" event=told file=")[2]
            assert json.loads(told) == name
        else:
            assert json.loads(line)["file"] == name
        err.seek(0)
        err.truncate()


def test_plain_values_have_no_quotes(err: io.StringIO) -> None:
    set_up(err, "text", "info")
    log.info("x", extra=logs.fields(event="told", a="b/c:1", b=None, c=True, d=-1.5, e="é"))
    assert err.getvalue().endswith("x event=told a=b/c:1 c=True d=-1.5 e=é\n")


@pytest.mark.parametrize("form", logs.FORMATS)
def test_exceptions(form: str, err: io.StringIO) -> None:
    set_up(err, form, "info")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed", extra=logs.fields(event="told"))
    if form == "json":
        (line,) = parsed(err)
        assert "ValueError: broken" in str(line["exception"])
    else:
        assert err.getvalue().splitlines()[0].endswith("it failed event=told")
        assert "ValueError: broken" in err.getvalue()


@pytest.mark.parametrize("form", logs.FORMATS)
def test_other_libraries_are_heard_when_they_warn(form: str, err: io.StringIO) -> None:
    set_up(err, form, "debug")
    logging.getLogger("asyncio").info("nothing")
    logging.getLogger("asyncio").warning("too %s", "slow")
    (line,) = err.getvalue().splitlines()
    assert "too slow" in line
    assert "event" not in line


def test_a_library_has_ten_lines_a_minute(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """What a stranger sends makes gRPC log errors; ours are bounded where they are made."""
    passes = logs.few_of_libraries(clock.now)

    def record(name: str) -> logging.LogRecord:
        return logging.LogRecord(name, logging.ERROR, "", 0, "a fault", None, None)

    for _ in range(2):
        assert [passes(record("grpc._cython.cygrpc")) for _ in range(30)] == [True] * 10 + [False] * 20
        assert [event["library"] for event in events(caplog, "library-muted")] == ["grpc"]
        assert passes(record("asyncio"))
        assert all(passes(record("p2p_server.app")) for _ in range(30))
        caplog.clear()
        clock.advance(60)


def test_nothing_that_a_library_logs_looks_like_a_line_of_ours(err: io.StringIO) -> None:
    set_up(err, "text", "info")
    library = logging.getLogger("grpc")
    try:
        raise ValueError("\x1b[2J\n2026-01-01T00:00:00.000+00:00 INFO p2p_server: all is well")
    except ValueError:
        library.exception("what came\x1b[2J\n2026-01-01T00:00:00.000+00:00 INFO p2p_server: %s", "all is well")
    first, *more = err.getvalue().splitlines()
    assert "\x1b" not in err.getvalue()
    assert first.endswith("what came\\x1b[2J\\n2026-01-01T00:00:00.000+00:00 INFO p2p_server: all is well")
    assert more
    assert all(line.startswith("  ") for line in more)
