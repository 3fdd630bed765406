"""The benchmark of the mediator: it measures real processes, tells what failed, and prints a line for each service."""

import json
import shutil
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import mediator, wormhole
from benchmarks.mediator_cases import OFFERED, SERVICES, Flood, Minute, Pairs, Waiting
from benchmarks.mediator_load import Matched
from tests.benchmarks.conftest import run
from tests.redis_server import needed

TINY = ("--rounds", "1", "--seconds", "1", "--keys", "400", "--waiting", "20", "--flood", "20", "--flood-rate", "20")
MATCHED = Matched(1000, 4.0, (0.001, 0.002, 0.003), {}, 2.0, {"Redis": 0.5})
MAILBOXES = [kind for kind, service in SERVICES.items() if service.mailbox]


def test_it_measures_pairs_at_every_kind_of_mediator() -> None:
    needed()
    mediators = [kind for kind in SERVICES if kind not in MAILBOXES]
    data = _measured("--cases", "pairs", "--services", ",".join(mediators))
    assert list(data["pairs"]) == mediators == ["memory", "leaf", "redis", "redis-2", "memory-plain"]
    for who, (measured,) in data["pairs"].items():
        for matched in (measured["full"], measured["paced"]):
            assert matched["failed"] == {}
            assert len(matched["times"]) == matched["pairs"] > 0
            assert min(matched["times"]) > 0
            assert matched["cpu"] > 0
        assert measured["paced"]["pairs"] == 50
        on_redis = who.startswith("redis")
        assert bool(measured["redis"]) is ("Redis" in measured["full"]["cpu_beside"]) is on_redis
        if on_redis:
            assert measured["redis"]["scripts"] >= 1
    balanced = "haproxy" in data["pairs"]["redis-2"][0]["full"]["cpu_beside"]
    assert balanced is (shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is not None)


@pytest.mark.skipif(
    not (wormhole.PROGRAMS.parent / ".installed").exists(), reason="not installed: make .venv-wormhole/.installed"
)
def test_it_measures_pairs_at_the_mailbox_server_with_tls_and_without() -> None:
    data = _measured("--cases", "pairs", "--services", ",".join(MAILBOXES))
    assert list(data["pairs"]) == MAILBOXES == ["mailbox-tls", "mailbox"]
    for (measured,) in data["pairs"].values():
        for matched, offered in ((measured["full"], 80), (measured["paced"], 16)):
            # The server drops a pair now and then.
            assert matched["pairs"] + matched["failed"].get("dropped", 0) == offered
            assert len(matched["times"]) == matched["pairs"] > 0
            assert matched["cpu"] > 0


def test_it_measures_those_who_wait_and_a_flood() -> None:
    data = _measured("--cases", "waiting,flood", "--services", "memory", "--share", "50")
    (waiting,) = data["waiting"]["memory"]
    assert (waiting["count"], waiting["paced"]["pairs"], waiting["paced"]["failed"]) == (20, 100, {})
    assert waiting["server"] > 1024
    (flood,) = data["flood"]
    assert (flood["held"], flood["failed"]) == (20, {})
    assert flood["opened"] > 0
    assert min(flood["quiet"]["pairs"], flood["flooded"]["pairs"]) > 0
    for paced in (flood["paced_quiet"], flood["paced_flooded"]):
        assert (paced["pairs"], paced["failed"]) == (2 * OFFERED, {})
    assert flood["alone"] > 0
    assert flood["share"] in (0.5, 1.0)


def test_it_looks_at_a_server_while_peers_come_and_go() -> None:
    data = _measured("--soak", "1", "--soak-seconds", "2")
    warm, after = data["soak"]
    assert (warm["minute"], after["minute"]) == (0, 1)
    assert 0 < warm["gone"] < after["gone"]
    assert min(warm["memory"], after["memory"]) > 1024**2
    assert (warm["failed"], after["failed"]) == ({}, {})
    assert min(warm["files"], after["files"]) > 0


def test_a_line_for_each_service() -> None:
    slow = replace(MATCHED, cpu=4.0, cpu_beside={}, failed={"timeout": 2})
    rounds = {"memory": [Pairs(MATCHED, MATCHED, {})] * 2, "mailbox": [Pairs(slow, MATCHED, {})] * 2}
    lines = _table("pairs", rounds)
    assert [line.split("  ")[0] for line in lines] == [
        "who",
        "in-process store",
        "magic-wormhole's mailbox, no TLS",
        "Pairs that did not meet: 4 timeout.",
    ]
    assert "500 (500–500)" in lines[1]
    assert "2.00 (2.00–2.00)" in lines[1]
    assert "50%" in lines[1]
    assert "Redis 0.50" in lines[1]
    assert "2.0 (2.0–2.0)" in lines[1]


def test_like_is_compared_with_like() -> None:
    cpu = {"memory": 4.0, "mailbox-tls": 5.0, "memory-plain": 2.0, "mailbox": 3.0}
    lines = _table("pairs", {kind: [Pairs(replace(MATCHED, cpu=each), MATCHED, {})] for kind, each in cpu.items()})
    with_tls, without = (lines[0].index(name) + len(name) for name in ("× mailbox, TLS", "× mailbox, no TLS"))
    assert [(line[with_tls - 16 : with_tls].strip(), line[with_tls:without].strip()) for line in lines[1:]] == [
        ("1.25 (1.25–1.25)", "0.75 (0.75–0.75)"),
        ("", ""),
        ("", "1.50 (1.50–1.50)"),
        ("", ""),
    ]


def test_a_line_for_each_number_that_waits() -> None:
    few = Waiting(1000, 80 * 1024, 2048, 0.01, MATCHED, {})
    lines = _table("waiting", {"redis": [few, replace(few, count=10_000, server=70 * 1024)]})
    assert [line.split()[2:5] for line in lines[1:]] == [
        ["1000", "80.0", "(80.0–80.0)"],
        ["10000", "70.0", "(70.0–70.0)"],
    ]
    assert "2.00 (2.00–2.00)" in lines[1]
    assert "1.0%" in lines[1]


def test_what_a_flood_leaves() -> None:
    late = replace(MATCHED, pairs=900, failed={"timeout": 100})
    lines = _table("flood", [Flood(MATCHED, replace(MATCHED, pairs=800), MATCHED, late, 0.5, 0.1, 5000, 199.6)])
    assert lines[1].split()[:3] == ["quiet", "250", "(250–250)"]
    assert "100.0% met" in lines[1]
    assert lines[2].split()[:3] == ["flooded", "200", "(200–200)"]
    assert "90.0% met" in lines[2]
    assert lines[3:] == [
        "The flood held 5000, opened 200 (200–200) a second; alone it took 10.0 (10.0–10.0) % of a processor.",
        "The server had 50% of its processor, by a control group: it was the limit, busy 50% at least.",
        "Rate with the flood × 0.80 (0.80–0.80); of a whole processor's that is × 0.90 (0.90–0.90).",
        "Pairs that did not meet: 100 timeout.",
    ]


def test_a_rate_that_the_server_did_not_limit_is_not_compared() -> None:
    *_, last = _table("flood", [Flood(MATCHED, MATCHED, MATCHED, MATCHED, 1.0, 0.1, 5000, 200.0)])
    assert last == (
        "The server had all of its processor, as no control group could be made: not it was the limit, but the swarms "
        "or other programs. It was busy 50%."
    )


def test_a_line_for_each_minute() -> None:
    lines = _table("soak", [Minute(0, 500, 64 * 1024**2, 30, None), Minute(1, 1000, 65 * 1024**2, 31, 7)])
    assert [line.split() for line in lines[1:]] == [["0", "500", "64.0", "30", "-"], ["1", "1000", "65.0", "31", "7"]]


def test_who_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    assert mediator.available(["memory", "redis", "redis-2"]) == ["memory"]
    assert capsys.readouterr().err.count("redis-server: Debian and Ubuntu have it") == 2


@pytest.mark.parametrize(
    "flags", [("--cases", "all"), ("--services", "mailboxes"), ("--waiting", "1,none"), ("--share", "100")]
)
def test_what_cannot_be_measured(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        mediator.parse(flags)
    assert flags[0] in capsys.readouterr().err


def _measured(*flags: str) -> Any:
    done = run("mediator.py", *TINY, "--json", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _table(case: str, figures: Any) -> list[str]:
    return mediator.as_text({case: figures}, mediator.parse([])).split("\n\n")[2].splitlines()
