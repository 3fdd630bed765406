import signal
import sys
from pathlib import Path

import pytest
from p2p_core.errors import Interrupted, KeyLocked, UsageError
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_peer import keyfiles
from p2p_peer.cli import keys
from p2p_peer.cli.main import main
from p2p_peer.cli.manual import PASSPHRASE_VARIABLE
from p2p_peer.cli.parser import parse

from tests.keys import key

PAIR = key(0)
ID = PeerId.of(PAIR.public_key())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "generate_key", lambda bits: PAIR)
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What somebody types at a terminal, when asked for a passphrase."""
    answers: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(keys.getpass, "getpass", lambda prompt: answers.pop(0))
    return answers


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)


def test_keygen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", str(tmp_path / "mine")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "mine" / "key.pem") in said
    assert f"peer id  {ID}" in said
    assert " ".join(ID.words[:4]) in said
    assert " ".join(ID.words[8:]) in said


def test_keygen_does_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.pem").write_text("mine")
    assert main(["keygen", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"p2p-peer: {tmp_path / 'key.pem'} exists already, and a key is never overwritten\n")


def test_fingerprint_is_the_same_for_both_halves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for content in (private_pem(PAIR), public_pem(PAIR.public_key())):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        assert main(["fingerprint", str(tmp_path / "key")]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].splitlines() == [
        f"peer id  {ID}",
        f"words    {' '.join(ID.words[:4])}",
        f"         {' '.join(ID.words[4:8])}",
        f"         {' '.join(ID.words[8:])}",
    ]


def test_fingerprint_of_a_pair_that_others_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(private_pem(PAIR))
    path.chmod(0o644)
    assert main(["fingerprint", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"p2p-peer: other users of this computer may be able to read {path}, which has a ")
    assert f"chmod 600 {path}" in said.err


def test_fingerprint_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fingerprint", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.startswith("p2p-peer: ")


# Passphrases.


def locked_with(folder: Path, secret: bytes) -> None:
    keyfiles.read_key_pair(folder / "key.pem", lambda path: secret)
    with pytest.raises(KeyLocked):
        keyfiles.read_key_pair(folder / "key.pem", lambda path: None)


def test_a_passphrase_is_typed_twice(tmp_path: Path, typed: list[str]) -> None:
    typed += ["8 sécret"] * 2
    keys.keygen(parse(["keygen", str(tmp_path), "--passphrase"]))
    locked_with(tmp_path, "8 sécret".encode())


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (["one of them", "the other"], "differ"),
        (["", ""], "empty"),
        (["7 écret"] * 2, "fewer than 8 characters, so no key was made"),
    ],
)
def test_a_passphrase_mistyped(tmp_path: Path, typed: list[str], answers: list[str], why: str) -> None:
    typed += answers
    with pytest.raises(UsageError, match=why):
        keys.keygen(parse(["keygen", str(tmp_path), "--passphrase"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_terminal")
def test_a_passphrase_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse(["keygen", str(tmp_path), "--passphrase"])
    with pytest.raises(UsageError, match="no terminal") as caught:
        keys.keygen(options)
    assert PASSPHRASE_VARIABLE in caught.value.advice
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")  # as if it were not there
    with pytest.raises(UsageError, match="no terminal"):
        keys.keygen(options)
    for short in ("x", "gehe\u00efm"):
        monkeypatch.setenv(PASSPHRASE_VARIABLE, short)
        with pytest.raises(UsageError, match="fewer than 8 characters, so no key was made"):
            keys.keygen(options)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "geh\u00efm-es")
    keys.keygen(options)
    locked_with(tmp_path, "geh\u00efm-es".encode())


@pytest.mark.usefixtures("no_terminal")
def test_a_passphrase_in_the_environment_locks_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "secret")
    keys.keygen(parse(["keygen", str(tmp_path)]))
    keyfiles.read_key_pair(tmp_path / "key.pem", lambda path: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(
    tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """`getpass` cleans up when something is raised in it; in the event loop, or with the process gone, it could not."""
    before, cleaned_up = signal.getsignal(number), []

    def prompt(text: str) -> str:
        try:
            signal.raise_signal(number)
        finally:
            cleaned_up.append(text)
        return "never"

    monkeypatch.setattr(keys.getpass, "getpass", prompt)
    with pytest.raises(Interrupted):
        keys.ask_passphrase(tmp_path)
    assert (len(cleaned_up), signal.getsignal(number)) == (1, before)


def test_fingerprint_of_a_locked_pair(
    tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem(PAIR, b"secret"))
    (tmp_path / "key.pem").chmod(0o600)
    typed[:] = ["secret"]
    keys.fingerprint(parse(["fingerprint", str(tmp_path / "key.pem")]))
    assert f"peer id  {ID}" in capsys.readouterr().out


def test_no_passphrase_is_typed(tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def end_of_input(text: str) -> str:
        raise EOFError

    monkeypatch.setattr(keys.getpass, "getpass", end_of_input)
    with pytest.raises(Interrupted, match="no passphrase was typed"):
        keys.ask_passphrase(tmp_path)


def test_how_a_locked_pair_is_opened(tmp_path: Path, typed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed.append("typed")
    assert keys.ask_passphrase(tmp_path) == b"typed"
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "from the environment")
    assert keys.ask_passphrase(tmp_path) == b"from the environment"
    typed.append("typed again")
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")  # as if it were not there
    assert keys.ask_passphrase(tmp_path) == b"typed again"
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    assert keys.ask_passphrase(tmp_path) is None
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    assert keys.ask_passphrase(tmp_path) is None
