"""Swarms: their keys are distinct and good, and their peers meet, wait, hold and go at a real mediator."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ProofFailed
from p2p_core.identity import PeerId, load_public_key, public_from_der
from p2p_core.proof import sign, verify_signature

from benchmarks import swarm
from benchmarks.mediator_load import Held
from benchmarks.swarm_keys import KeyRing
from tests.benchmarks.conftest import run
from tests.programs import Mediator, Programs, p2p_server, start_here

SWARM = [sys.executable, swarm.__file__]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ring") / "keys"
    KeyRing.make(2048, 40).save(file)
    return file


@pytest.fixture
def port(tmp_path: Path, ring: Path, programs: Programs) -> int:
    """Of a mediator that admits them all."""
    done = run("swarm.py", "--keys", ring, "--need", "40", "--authorize", tmp_path / "authorized")
    assert done.returncode == 0, done.stderr
    often = ("--streams-per-minute", "100000")  # a few keys come more often than any peer does
    where = ("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--state-dir", tmp_path, *often)
    process = start_here(p2p_server(*where, "--log-format", "json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    mediator = Mediator(process, "127.0.0.1", 0, 0, "")
    programs.callback(mediator.stop)
    assert process.stdout is not None
    listening: int = json.loads(process.stdout.readline())["port"]
    return listening


def test_key_pairs_of_a_few_primes_are_distinct_and_good(ring: Path) -> None:
    keys = [KeyRing.load(ring).key(number) for number in range(40)]
    assert len({key.id for key in keys}) == 40
    for key in (keys[0], keys[39]):
        public = public_from_der(key.public)
        assert (public.key_size, PeerId.of(public)) == (2048, key.id)
        verify_signature(public, b"signed", sign(key.private, b"signed"))
    with pytest.raises(ProofFailed):
        verify_signature(public_from_der(keys[0].public), b"signed", sign(keys[1].private, b"signed"))


def test_processes_with_one_file_have_the_same_keys(ring: Path, tmp_path: Path) -> None:
    run("swarm.py", "--keys", ring, "--first-key", "7", "--need", "2", "--authorize", tmp_path)
    filed = {PeerId.of(load_public_key(file.read_bytes())) for file in tmp_path.iterdir()}
    assert filed == {KeyRing.load(ring).key(number).id for number in (7, 8)}


@pytest.mark.parametrize("flags", [(), ("--rate", "50"), ("--fetch-first",)])
def test_pairs_meet(port: int, ring: Path, flags: tuple[str, ...]) -> None:
    said = _run(port, ring, "--pairs", "6", "--concurrency", "3", *flags)
    assert (said["pairs"], said["failed"]) == (6, {})
    assert len(said["match_seconds"]) == 6
    assert min(said["match_seconds"]) > 0


def test_who_is_not_admitted_is_counted_by_reason(port: int, ring: Path) -> None:
    said = _run(port, ring, "--pairs", "1", "--first-key", "40")
    assert (said["pairs"], said["failed"]) == (0, {"not-admitted": 1})


def test_where_nobody_listens(ring: Path) -> None:
    said = _run(1, ring, "--pairs", "2")
    assert (said["pairs"], sum(said["failed"].values())) == (0, 2)


def test_peers_wait_until_they_are_told_to_go(port: int, ring: Path) -> None:
    with Held(_argv(port, ring, "--waiting", "10")) as held:
        assert (held.first["waiting"], held.first["failed"]) == (10, {})
        said = _run(port, ring, "--pairs", "5", "--first-key", "20")
        assert said["pairs"] == 5
        assert held.finish() == {"waiting": 10, "pings": 10, "lost": {}}


@pytest.mark.parametrize("kind", swarm.KINDS)
def test_a_flood_is_held_and_renewed(port: int, ring: Path, kind: str) -> None:
    with Held(_argv(port, ring, "--flood", "20", "--rate", "100", "--kind", kind)) as held:
        assert held.first == {"held": 20, "failed": {}}
        said = _run(port, ring, "--pairs", "3")
        assert said["pairs"] == 3
        last = held.finish()
        assert (last["held"], last["failed"]) == (20, {})
        assert last["opened"] > 0


def test_peers_go_in_every_way_at_every_step(port: int, ring: Path) -> None:
    said = _run(port, ring, "--churn", "1", "--concurrency", "2")
    assert said["failed"] == {}
    assert said["by_way"].keys() == {f"{step}, {way}" for step in swarm.STEPS for way in swarm.WAYS}


def test_a_swarm_without_anything_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        swarm.parse(["--target", "127.0.0.1:1"])
    assert "say what to do" in capsys.readouterr().err


def _argv(port: int, ring: Path, *flags: str) -> list[str]:
    return [*SWARM, "--target", f"127.0.0.1:{port}", "--keys", str(ring), "--need", "20", *flags]


def _run(port: int, ring: Path, *flags: str) -> Any:
    done = subprocess.run(_argv(port, ring, *flags), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
