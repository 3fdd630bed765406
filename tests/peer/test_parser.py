import subprocess
import sys
from pathlib import Path

import pytest
from p2p_peer.cli.exit_codes import EXIT_CODES
from p2p_peer.cli.manual import PASSPHRASE_VARIABLE, PHRASE_VARIABLE
from p2p_peer.cli.parser import parse
from p2p_peer.serverless.direct import DEFAULT_PORT
from p2p_peer.serverless.token import DEFAULT_LIFE

CHAT = ["example.org", "54700", "key.pem", "peer.pem"]


def test_four_positionals_are_the_chat() -> None:
    options = parse(CHAT)
    assert options.command == "chat"
    assert (options.host, options.port) == ("example.org", 54700)
    assert (options.keypair, options.peerkey) == (Path("key.pem"), Path("peer.pem"))
    assert (options.message, options.send, options.receive) == ([], [], None)
    assert (options.yes, options.json, options.insecure) == (False, False, False)
    assert (options.wait, options.timeout, options.mediator_id, options.state_dir) == (None, None, None, None)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["keygen", "DIR"], "keygen"),
        (["fingerprint", "key.pem"], "fingerprint"),
        (["netcheck"], "netcheck"),
        (["netcheck", "example.org", "54700"], "netcheck"),
        (["verify", "receipt.jsonl", "a.iso", "--json"], "verify"),
        (["verify", "54700", "key.pem", "peer.pem"], "chat"),
        (["netcheck", "54700", "key.pem", "peer.pem"], "chat"),
        (["token", "54700", "key.pem", "peer.pem"], "chat"),
        (["direct", "54700", "key.pem", "peer.pem"], "chat"),
        (["token"], "token"),
        (["token", "key.pem"], "token"),
        (["token", "key.pem", "peer.pem", "--message", "hi"], "token"),
        (["token", "54700", "peer.pem"], "token"),
        (["direct"], "direct"),
        (["direct", "-t", "host", "-r", "9000"], "direct"),
        (["keygen", "54700", "key.pem", "peer.pem"], "chat"),  # a host that is named like a command
        (["fingerprint", "54700", "key.pem", "peer.pem"], "chat"),
        (["keygen", "54700", "key.pem", "peer.pem", "--message", "hello"], "chat"),
        (["keygen", "54700"], "keygen"),  # a folder with digits for a name
        (["fingerprint", "54700"], "fingerprint"),
        (["keygen", "--bits", "2048", "DIR"], "keygen"),
        (["--json", *CHAT], "chat"),
        ([*CHAT, "--send", "keygen"], "chat"),
    ],
)
def test_chat_or_command(arguments: list[str], command: str) -> None:
    assert parse(arguments).command == command


def test_a_folder_named_as_a_number_has_its_options() -> None:
    assert parse(["keygen", "54700", "--bits", "2048"]).bits == 2048


def test_what_to_do() -> None:
    options = parse([*CHAT, "--message", "a", "--message", "b", "--send", "x", "--send", "y", "--receive", "inbox"])
    assert options.message == ["a", "b"]
    assert options.send == ["x", "y"]
    assert options.receive == Path("inbox")
    assert parse([*CHAT, "--receive"]).receive == Path()
    assert parse([*CHAT, "--receive", "--yes"]).receive == Path()


def test_files_and_folders_are_one_transfer() -> None:
    options = parse([*CHAT, "--send", "a.iso", "photos/", "-", "--yes", "--send", "./-"])
    assert options.send == ["a.iso", "photos/", "-", "./-"]  # where a file is not standard input
    assert options.yes


def test_where_files_go() -> None:
    assert parse([*CHAT, "--receive", "-"]).receive == "-"
    assert parse([*CHAT, "--receive", "./-"]).receive == Path("./-")


def test_how_files_are_sent_and_taken() -> None:
    options = parse(CHAT)
    assert (options.exclude, options.include_hidden, options.limit_rate) == ([], False, None)
    assert (options.overwrite, options.in_place, options.max_size) == ("rename", False, None)
    options = parse([*CHAT, "--exclude", "*.tmp", "--exclude", "cache/", "--include-hidden", "--limit-rate", "2M"])
    assert (options.exclude, options.include_hidden, options.limit_rate) == (["*.tmp", "cache/"], True, 2_000_000)
    options = parse([*CHAT, "--overwrite", "always", "--in-place", "--max-size", "1.5G"])
    assert (options.overwrite, options.in_place, options.max_size) == ("always", True, 1_500_000_000)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("500", 500),
        ("500k", 500_000),
        ("500K", 500_000),
        ("0.5m", 500_000),
        ("3MB", 3 * 10**6),
        ("2T", 2 * 10**12),
    ],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse([*CHAT, "--max-size", text]).max_size == amount


def test_how_to_do_it() -> None:
    options = parse([*CHAT, "--yes", "--wait", "2.5", "--timeout", "60", "--json", "--insecure"])
    assert (options.yes, options.wait, options.timeout, options.json, options.insecure) == (True, 2.5, 60, True, True)
    options = parse([*CHAT, "--mediator-id", "abc", "--state-dir", "/state"])
    assert (options.mediator_id, options.state_dir) == ("abc", Path("/state"))


def test_which_way_to_the_other_peer() -> None:
    options = parse(CHAT)
    assert (options.direct_only, options.relay_only, options.ipv4, options.ipv6) == (False, False, False, False)
    assert (options.bind, options.no_port_mapping, options.stun) == (None, False, [])
    options = parse(
        [*CHAT, "--relay-only", "--ipv6", "--bind", "::1", "--no-port-mapping", "--stun", "a", "--stun", "b"]
    )
    assert (options.relay_only, options.ipv6, options.bind) == (True, True, "::1")
    assert (options.no_port_mapping, options.stun) == (True, ["a", "b"])
    assert parse([*CHAT, "--direct-only", "--ipv4"]).direct_only


def test_token() -> None:
    options = parse(["token"])
    assert (options.keypair, options.peerkey, options.phrase, options.ttl) == (None, None, None, 600)
    assert (options.token, options.token_file, options.no_qr, options.address_service) == (None, None, False, None)
    options = parse(
        ["token", "key.pem", "peer.pem", "--phrase", "some words", "--ttl", "90", "--token", "1abc", "--no-qr"]
    )
    assert (options.keypair, options.peerkey) == (Path("key.pem"), Path("peer.pem"))
    assert (options.phrase, options.ttl, options.token, options.no_qr) == ("some words", 90, "1abc", True)
    assert isinstance(options.ttl, int)
    options = parse(
        ["token", "--token-file", "-", "--address-service", "https://a.example", "--stun", "a", "--bind", "::1"]
    )
    assert (options.token_file, options.address_service) == (Path("-"), "https://a.example")
    assert (options.stun, options.bind) == (["a"], "::1")


def test_direct() -> None:
    options = parse(["direct"])
    assert (options.host, options.port, options.target, options.remote_port) == (None, 8000, None, None)
    assert (options.mode, options.keypair, options.certificate, options.peerkey) == (0, None, None, None)
    assert (options.require_known, options.wait) == (False, None)
    options = parse(["direct", "-i", "::1", "-p", "0", "-t", "host", "-r", "9000", "-m", "1", "-k", "k", "-c", "c"])
    assert (options.host, options.port, options.target, options.remote_port) == ("::1", 0, "host", 9000)
    assert (options.mode, options.keypair, options.certificate) == (1, Path("k"), Path("c"))
    options = parse(["direct", "--peer-key", "p", "--require-known", "--wait", "5", "--ipv6"])
    assert (options.peerkey, options.require_known, options.wait, options.ipv6) == (Path("p"), True, 5, True)


def test_the_ports_are_the_librarys() -> None:
    assert parse(["direct"]).port == DEFAULT_PORT
    assert parse(["token"]).ttl == DEFAULT_LIFE


@pytest.mark.parametrize("command", [CHAT, ["token"], ["direct"]])
def test_every_session_does_the_same(command: list[str]) -> None:
    flags = ["--message", "hi", "--send", "a", "--receive", "in", "--yes", "--max-size", "1G", "--exclude", "*.tmp"]
    options = parse([*command, *flags, "--timeout", "9", "--json", "-v", "--state-dir", "/s", "--limit-rate", "1M"])
    assert (options.message, options.send, options.receive) == (["hi"], ["a"], Path("in"))
    assert (options.yes, options.max_size, options.exclude, options.limit_rate) == (True, 10**9, ["*.tmp"], 10**6)
    assert (options.timeout, options.json, options.verbose, options.state_dir) == (9, True, True, Path("/s"))


def test_netcheck() -> None:
    options = parse(["netcheck"])
    assert (options.host, options.port, options.json, options.verbose, options.insecure) == (
        None,
        None,
        False,
        False,
        False,
    )
    options = parse(["netcheck", "example.org", "54700", "--json", "--insecure", "--stun", "a", "--ipv4", "-v"])
    assert (options.host, options.port, options.stun, options.ipv4) == ("example.org", 54700, ["a"], True)
    assert (options.json, options.insecure, options.verbose) == (True, True, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["example.org"],
        CHAT[:3],
        [*CHAT, "more"],
        ["example.org", "0", "key.pem", "peer.pem"],
        ["example.org", "65536", "key.pem", "peer.pem"],
        ["example.org", "-1", "key.pem", "peer.pem"],
        ["example.org", "http", "key.pem", "peer.pem"],
        [*CHAT, "--wait", "0"],
        [*CHAT, "--wait", "-1"],
        [*CHAT, "--wait", "inf"],
        [*CHAT, "--timeout", "nan"],
        [*CHAT, "--timeout", "soon"],
        [*CHAT, "--no-such-option"],
        [*CHAT, "--send"],
        [*CHAT, "--overwrite", "perhaps"],
        [*CHAT, "--max-size", "0"],
        [*CHAT, "--max-size", "0.1"],
        [*CHAT, "--max-size", "-1"],
        [*CHAT, "--max-size", "1e9"],
        [*CHAT, "--max-size", "nan"],
        [*CHAT, "--max-size", "10000000T"],
        [*CHAT, "--limit-rate", "fast"],
        [*CHAT, "--limit-rate", "5P"],
        [*CHAT, "--direct-only", "--relay-only"],
        [*CHAT, "--ipv4", "--ipv6"],
        ["netcheck", "example.org"],
        ["netcheck", "example.org", "http"],
        ["netcheck", "example.org", "1", "more"],
        ["token", "key.pem", "peer.pem", "more"],
        ["token", "--ttl", "29"],
        ["token", "--ttl", "3601"],
        ["token", "--ttl", "soon"],
        ["token", "--token", "1abc", "--token-file", "-"],
        ["token", "--wait", "5"],
        ["token", "--relay-only"],
        ["token", "--direct-only"],
        ["token", "--insecure"],
        ["direct", "key.pem"],
        ["direct", "-m", "3"],
        ["direct", "-p", "65536"],
        ["direct", "-r", "0"],
        ["direct", "--stun", "a"],
        ["keygen"],
        ["keygen", "DIR", "--bits", "many"],
        ["fingerprint"],
    ],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: p2p-peer")


def test_help_tells_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for code, meaning in EXIT_CODES.items():
        assert f"  {code:<4} {meaning}" in said
    for word in (
        "keygen DIR",
        "fingerprint KEY",
        "netcheck [HOST PORT]",
        "token [KEYPAIR [PEERKEY]]",
        "direct [-t TARGET]",
        "/send PATH...",
        "/cancel [N]",
        "/quit",
        PASSPHRASE_VARIABLE,
        PHRASE_VARIABLE,
        "--mediator-id",
    ):
        assert word in said


@pytest.mark.parametrize("command", ["keygen", "fingerprint", "netcheck", "token", "direct"])
def test_each_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse([command, "--help"])
    assert caught.value.code == 0
    assert f"p2p-peer {command}" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert capsys.readouterr().out.startswith("punchwire ")


def test_help_loads_nothing_heavy() -> None:
    """It has to be there at once: neither gRPC, nor OpenSSL, nor asyncio."""
    program = (
        "import sys\n"
        "from p2p_peer.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'OpenSSL', 'cryptography', 'asyncio', 'google', 'rich', 'blake3'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["tokn"], "token"),
        (["Token", "--phrase", "x"], "token"),
        (["finger", "key.pem"], "fingerprint"),
        (["net-check", "--json"], "netcheck"),
    ],
)
def test_a_command_that_is_mistyped(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert f"there is no command {arguments[0]}; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["tokens", *CHAT[1:]], ["trusty", "--json", *CHAT[1:]]])
def test_a_host_that_is_named_nearly_as_a_command(arguments: list[str]) -> None:
    assert parse(arguments).host == arguments[0]


@pytest.mark.parametrize("arguments", [["example.org", "54700"], ["--json"], []])
def test_what_is_not_nearly_a_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[*CHAT, "--mess", "hi"], ["keygen", "d", "--bit", "3072"]])
def test_flags_are_not_abbreviated(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
