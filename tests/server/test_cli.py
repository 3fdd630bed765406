"""`p2p-server` as a user starts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from p2p_core import __version__
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_server import cli, flags, logs
from p2p_server.config import Config

from tests import keys
from tests.server.client import PATIENCE

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join(str(ROOT / folder) for folder in ("proto", "core", "server"))
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start `p2p-server` with its state in the test's folder."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("P2P_SERVER_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "p2p_server", *arguments],
            env=clean | {"PYTHONPATH": PATHS, "XDG_STATE_HOME": str(tmp_path)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    assert line, process.communicate()[1]
    return line.rstrip("\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_on_a_signal(run: Run, tmp_path: Path, number: int) -> None:
    process = run("--host", "127.0.0.1", "--port", "0", "--stun-port", "0")
    line = first_line(process)
    found = re.fullmatch(
        r"listening on 127\.0\.0\.1:(\d+), STUN on TCP (\d+), (\d+) and UDP \d+, \d+, "
        r"relaying at 4 MiB/s each way and 4 GiB a day between two peers, store memory, mediator id ([a-z2-7]{52})",
        line,
    )
    assert found is not None, line
    for port in found.group(1, 2, 3):
        socket.create_connection(("127.0.0.1", int(port)), PATIENCE).close()
    assert (tmp_path / "punchwire-mediator" / "key.pem").exists()
    assert (tmp_path / "punchwire-mediator" / "authorized").is_dir()
    process.send_signal(number)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in errors


def test_json(run: Run) -> None:
    process = run("--port", "0", "--stun-port", "0", "--insecure", "--open", "--log-format", "json")
    listening = json.loads(first_line(process))
    assert datetime.fromisoformat(listening.pop("time")).tzinfo is UTC
    assert listening == {
        "level": "info",
        "event": "listening",
        "host": "*",
        "port": listening["port"],
        "stun_port": listening["stun_port"],
        "mediator_id": None,
        "store": "memory",
        "behind_proxy": True,
        "metrics": None,
    }
    process.terminate()
    lines = [json.loads(line) for line in process.communicate(timeout=PATIENCE)[1].splitlines()]
    assert process.returncode == 0
    assert all(line.keys() >= {"time", "level", "logger", "event", "message"} for line in lines)
    assert lines[-1]["event"] == "stopped"


def test_every_flag_is_also_a_variable(run: Run, tmp_path: Path) -> None:
    process = run(
        P2P_SERVER_HOST="127.0.0.1",
        P2P_SERVER_PORT="0",
        P2P_SERVER_STUN_PORT="0",
        P2P_SERVER_STATE_DIR=str(tmp_path / "elsewhere"),
        P2P_SERVER_OPEN="yes",
        P2P_SERVER_INSECURE="",
        P2P_SERVER_LOG_FORMAT="json",
    )
    assert json.loads(first_line(process))["host"] == "127.0.0.1"
    assert (tmp_path / "elsewhere" / "key.pem").exists()
    assert not (tmp_path / "elsewhere" / "authorized").exists()


def test_a_taken_port_is_one_sentence(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = ("--port", str(port), "--stun-port", "0")
        process = run("--host", "127.0.0.1", *ports, "--open", "--insecure", "--log-level", "error")
        out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, "")
    sentence, advice = errors.splitlines()
    assert sentence == f"p2p-server: cannot listen on 127.0.0.1, port {port}: it is in use"
    assert advice.lstrip().startswith(f"ss -tanp 'sport = :{port}' shows who has it")
    assert "--port" in advice


def test_a_variable_that_is_no_flags_is_named(run: Run) -> None:
    """Those of a Service of that name are Kubernetes's, which a name that is only much like one is not."""
    process = run(
        *("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--open", "--insecure", "--log-format", "json"),
        P2P_SERVER_MAX_PEERS="5",
        P2P_SERVER_METRICS_PORT="9470",
        P2P_SERVER_SERVICE_HOST="10.0.0.1",
        P2P_SERVER_SERVICE_PORT="54700",
        P2P_SERVER_SERVICE_PORT_PEERS="54700",
        P2P_SERVER_PORT_54700_TCP="tcp://10.0.0.1:54700",
        P2P_SERVER_PORT_54700_TCP_ADDR="10.0.0.1",
        P2P_SERVER_METRICS_SERVICE_PORT="tcp://10.0.0.1:9470",
    )
    first_line(process)
    process.terminate()
    lines = [json.loads(line) for line in process.communicate(timeout=PATIENCE)[1].splitlines()]
    unknown = [line["variable"] for line in lines if line["event"] == "unknown-variable"]
    assert unknown == ["P2P_SERVER_MAX_PEERS", "P2P_SERVER_METRICS_PORT"]


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_password_that_other_users_see_is_warned_of(run: Run, by_variable: bool) -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    where = ("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--open", "--insecure", "--log-format", "json")
    process = run(*where, P2P_SERVER_STORE=url) if by_variable else run(*where, "--store", url)
    assert process.stderr is not None
    lines: list[dict[str, object]] = []
    while not lines or not str(lines[-1]["event"]).startswith("store"):  # which does not answer
        lines.append(json.loads(process.stderr.readline()))
    process.terminate()
    warnings = [line["variable"] for line in lines if line["event"] == "password-in-arguments"]
    assert warnings == ([] if by_variable else ["P2P_SERVER_STORE"])
    assert "secret" not in json.dumps(lines) + process.communicate(timeout=PATIENCE)[1]


def test_authorize_admits_keys(run: Run, tmp_path: Path) -> None:
    peers = [PeerId.of(keys.key(n).public_key()) for n in range(3)]
    (tmp_path / "a.pem").write_bytes(private_pem(keys.key(0)))
    (tmp_path / "b.pem").write_bytes(public_pem(keys.key(1).public_key()))
    folder = tmp_path / "punchwire-mediator" / "authorized"
    process = run("authorize", str(tmp_path / "a.pem"), str(tmp_path / "b.pem"))
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert out == "".join(f"{peer}  {folder / f'{peer}.pem'}\n" for peer in peers[:2])
    assert (folder / f"{peers[0]}.pem").read_bytes() == public_pem(keys.key(0).public_key())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--no-stun", "--no-relay"), r"no STUN, relaying nothing"),
        (
            ("--no-stun", "--stun-server", "192.0.2.1:1", "--stun-server", "[2001:db8::1]:2/tcp", "--relay-rate", "0"),
            r"no STUN, STUN of others at 192\.0\.2\.1:1/udp \[2001:db8::1\]:2/tcp, "
            r"relaying at any rate each way and 4 GiB a day between two peers",
        ),
        (
            ("--stun-port", "0", "--stun-host", "127.0.0.2", "--relay-bytes", "0", "--relay-rate", "100000"),
            r"STUN on TCP \d+, \d+ and UDP \d+, \d+, also at 127\.0\.0\.2, "
            r"relaying at 100000 bytes/s each way and any volume between two peers",
        ),
    ],
)
def test_it_says_what_it_does(run: Run, flags: tuple[str, ...], said: str) -> None:
    line = first_line(run("--host", "127.0.0.1", "--port", "0", "--insecure", "--open", *flags))
    end = "store memory, behind a proxy, no TLS, so no mediator id"
    assert re.fullmatch(rf"listening on 127\.0\.0\.1:\d+, {said}, {end}", line), line


# In this process: what the parser makes of its arguments.


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("P2P_SERVER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(logs, "set_up", lambda *_: None)  # the log here is pytest's
    return monkeypatch


def config_of(*arguments: str) -> Config:
    parser = flags.make_parser()
    return cli._config(parser, parser.parse_args(arguments))


def test_the_defaults(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = tmp_path / "punchwire-mediator"
    assert config_of() == Config(state_dir=state, authorized=state / "authorized", port=54700, stun_port=54701)


def test_a_relative_folder_for_state_is_passed_over(clean: pytest.MonkeyPatch) -> None:
    """As the XDG Base Directory Specification has it."""
    clean.setenv("HOME", "/home/somebody")
    for unusable in ("", "relative"):
        clean.setenv("XDG_STATE_HOME", unusable)
        assert config_of().state_dir == Path("/home/somebody/.local/state/punchwire-mediator")


def test_a_user_without_a_home(clean: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    clean.delenv("XDG_STATE_HOME")
    clean.setattr(Path, "home", home)
    (tmp_path / "a.pem").write_bytes(public_pem(keys.key(0).public_key()))
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    assert cli.main(["authorize", "--authorized", str(tmp_path / "keys"), str(tmp_path / "a.pem")]) == 0
    assert config_of("--state-dir", str(tmp_path)).state_dir == tmp_path
    capsys.readouterr()
    for arguments in ([], ["authorize", str(tmp_path / "a.pem")]):
        assert cli.main(arguments) == 2
        sentence, advice = capsys.readouterr().err.splitlines()
        assert sentence == "p2p-server: there is no home folder to keep the mediator's key in"
        assert "--state-dir" in advice


def test_a_flag_wins_over_its_variable(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("P2P_SERVER_PORT", "1000")
    assert config_of().port == 1000
    assert config_of("--port", "2000").port == 2000


def test_limits_are_flags_of_their_own(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("P2P_SERVER_STREAMS_PER_MINUTE", "0.5")
    limits = config_of("--max-message", "128K", "--max-relays", "5", "--relay-total-bytes", "0").limits
    assert (limits.streams_per_minute, limits.max_message, limits.max_relays) == (0.5, 128 * 1024, 5)
    assert limits.max_relays_per_key == 5  # no more than there are, unless asked for
    assert limits.relay_total_bytes == 0


def test_a_peer_has_four_times_what_one_relay_has_unless_told_otherwise(clean: pytest.MonkeyPatch) -> None:
    limits = config_of("--relay-rate", "1M", "--relay-bytes", "0", "--relay-key-bytes", "3G").limits
    assert (limits.relay_key_rate, limits.relay_key_bytes) == (4 * 1024**2, 3 * 1024**3)
    assert config_of("--relay-bytes", "0").limits.relay_key_bytes == 0


def test_a_password_of_the_store_is_shown_nowhere(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.setenv("P2P_SERVER_STORE", "redis://:secret@127.0.0.1:1/0")
    config = config_of()
    assert "secret" in config.store
    assert "secret" not in repr(config)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "by_address"), [((), True), (("--behind-proxy",), False), (("--insecure",), False)])
def test_behind_a_proxy_nothing_is_counted_by_address(
    clean: pytest.MonkeyPatch, flags: tuple[str, ...], by_address: bool
) -> None:
    assert config_of(*flags).by_address is by_address


def test_a_switch_may_have_an_unused_variable_beside_it(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("P2P_SERVER_STUN_PORT", "1000")
    clean.setenv("P2P_SERVER_RELAY_RATE", "1M")
    assert not config_of("--no-stun").stun
    assert not config_of("--no-relay").limits.relay


def test_open_needs_no_folder(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("P2P_SERVER_AUTHORIZED", "/nowhere")
    assert config_of("--open").authorized is None
    assert config_of().authorized == Path("/nowhere")


def test_a_folder_that_a_flag_names_is_not_opened_by_a_variable(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.setenv("P2P_SERVER_OPEN", "yes")
    assert config_of().authorized is None
    assert config_of("--authorized", "/nowhere").authorized == Path("/nowhere")
    clean.setenv("P2P_SERVER_AUTHORIZED", "/nowhere")
    with pytest.raises(SystemExit):
        config_of()
    both = "P2P_SERVER_OPEN admits every key and P2P_SERVER_AUTHORIZED only some: leave one of them out"
    assert both in capsys.readouterr().err


@pytest.mark.parametrize("order", [0, 1])
def test_authorize_takes_the_folder_before_or_after_its_name(
    clean: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], order: int
) -> None:
    (tmp_path / "a.pem").write_bytes(public_pem(keys.key(0).public_key()))
    folder = ["--authorized", str(tmp_path / "keys")]
    words = [*folder, "authorize"] if order else ["authorize", *folder]
    assert cli.main([*words, str(tmp_path / "a.pem")]) == 0
    peer = PeerId.of(keys.key(0).public_key())
    assert capsys.readouterr().out == f"{peer}  {tmp_path / 'keys' / f'{peer}.pem'}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "there is no port '70000'"),
        (["--port", "http"], "there is no port 'http'"),
        (["--log-level", "loud"], "'loud' is none of"),
        (["--prot", "1"], "unrecognized arguments: --prot\n"),
        (["--prot=1", "authorize", "a.pem"], "unrecognized arguments: --prot=1\n"),
        (["authorize", "a.pem", "--prot", "1"], "unrecognized arguments: --prot"),
        (["start"], "argument COMMAND: invalid choice: 'start'"),
        (["--tls-cert", "x"], "go together"),
        (["--insecure", "--tls-cert", "x", "--tls-key", "y"], "without TLS"),
        (["--open", "--authorized", "keys"], "leave one of them out"),
        (["--port", "5000", "--stun-port", "5000"], "they must differ"),
        (["--port", "5001", "--stun-port", "5000"], "--port 5001 is the port after --stun-port"),
        (["--metrics", "54700"], "--metrics 127.0.0.1:54700 has a port that --port takes"),
        (["--metrics", "54702"], "--metrics 127.0.0.1:54702 has a port that --stun-port takes"),
        (["--store", "redis://:a/b@h/0"], "in a password / is written %2F, ? %3F, # %23, @ %40, % %25"),
        (["--store", "redis://h/cache"], "the database of a Redis is a number at the end: redis://HOST:PORT/0"),
        (["--no-stun", "--stun-port", "1"], "--no-stun leaves --stun-port without use"),
        (
            ["--no-stun", "--stun-connections-per-address", "1"],
            "--no-stun leaves --stun-connections-per-address without use",
        ),
        (["--no-stun", "--stun-host", "127.0.0.2"], "--no-stun leaves --stun-host without use"),
        (["--no-relay", "--relay-rate", "1M"], "--no-relay leaves --relay-rate without use"),
        (["--no-relay", "--relay-total-rate", "1M"], "--no-relay leaves --relay-total-rate without use"),
        (["--no-relay", "--relay-key-rate", "1M"], "--no-relay leaves --relay-key-rate without use"),
        (["--no-relay", "--max-relays-per-key", "1"], "--no-relay leaves --max-relays-per-key without use"),
        (["--no-relay", "--advertise", "a:1"], "--no-relay leaves --advertise without use"),
        (["--insecure", "--handshakes-per-second", "1"], "--insecure leaves --handshakes-per-second without use"),
        (
            ["--behind-proxy", "--max-unauthenticated-per-address", "1"],
            "--behind-proxy leaves --max-unauthenticated-per-address without use",
        ),
        (
            ["--max-unauthenticated-per-address", "401"],
            "--max-unauthenticated-per-address 401 is more than --max-unauthenticated, which is 400",
        ),
        (["--max-relays-per-key", "10", "--max-relays", "9"], "is more than --max-relays, which is 9"),
        (["--max-connections", "0"], "'0' is not a whole number from 1 on"),
        (["--signals-per-second", "0"], "it is a number above 0"),
        (["--handshake-timeout", "0.5"], "at least 1 s"),
        (["--relay-idle", "5"], "at least 15 s"),
        (["--max-message", "1K"], "is not from 32K to 256K"),
        (["--advertise", "mediator.example.net"], "is not HOST:PORT"),
        (["--metrics", "http"], "there is no port 'http'"),
        (["--store", "redis"], "a store is memory, redis://HOST:PORT/DB, or with TLS rediss://HOST:PORT/DB\n"),
        (["--no-relay", "--relay-bytes", "0"], "--no-relay leaves --relay-bytes without use"),
        (["--host", "127.0.0.1", "--stun-host", "127.0.0.1"], "are the same, 127.0.0.1"),
        (["--relay-bytes", "1023K"], "at least 1M, or 0 for no limit"),
        (["--relay-rate", "0.5M"], "whole numbers with K, M or G (2^10, 2^20, 2^30)"),
        (["--host", "192.0.2.1", "--insecure", "--open"], "that is not an address of this computer"),
        (["--stun-host", "192.0.2.1", "--insecure", "--open"], "that is not an address of this computer"),
        (["--stun-host", "no-such-host.invalid", "--insecure", "--open"], "the address of no-such-host.invalid"),
        (["--stun-port", "65535"], "STUN takes the next port as well"),
        (["authorize"], "required"),
        (["--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"], "cannot read /nowhere/c.pem"),
        (["--authorized", "/nowhere/keys"], "there is no folder /nowhere/keys"),
        (["--authorized", "k" * 300, "--insecure"], "cannot look at the folder k"),
        (["--host", "no-such-host.invalid", "--insecure", "--open"], "no-such-host.invalid"),
        (["authorize", "/nowhere/a.pem"], "cannot read /nowhere/a.pem"),
        (["--state-dir", "/dev/null/state", "--open"], "/dev/null/state"),
        (["authorize", "--authorized", "/dev/null/keys", "a.pem"], "cannot"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(
    clean: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    clean.chdir(tmp_path)
    (tmp_path / "a.pem").write_bytes(public_pem(keys.key(0).public_key()))
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    out, errors = capsys.readouterr()
    assert (code, out) == (2, "")
    assert sentence in errors


@pytest.mark.parametrize(("variable", "value"), [("OPEN", "perhaps"), ("PORT", "http"), ("LOG_FORMAT", "xml")])
def test_a_variable_that_makes_no_sense_is_said(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    clean.setenv(f"P2P_SERVER_{variable}", value)
    try:
        code = cli.main([])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    assert code == 2
    errors = capsys.readouterr().err
    assert value in errors
    assert f"the environment variable P2P_SERVER_{variable}" in errors


def test_a_service_of_kubernetes_may_have_our_name(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.setenv("P2P_SERVER_PORT", "tcp://10.0.0.1:54700")
    with pytest.raises(SystemExit):
        cli.main([])
    assert "which Kubernetes sets for a Service of that name: see enableServiceLinks" in capsys.readouterr().err


def test_what_two_variables_say_is_said_by_their_names(
    clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.setenv("P2P_SERVER_STUN_PORT", "5000")
    with pytest.raises(SystemExit):
        config_of("--port", "5000")
    assert "--port and P2P_SERVER_STUN_PORT are both 5000" in capsys.readouterr().err


def test_metrics_may_have_the_same_port_at_another_address(clean: pytest.MonkeyPatch) -> None:
    assert config_of("--host", "192.0.2.1", "--metrics", "54700").metrics is not None
    assert config_of("--no-stun", "--metrics", "54702").metrics is not None


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"punchwire {__version__}\n"


def test_help_names_every_variable_and_loads_no_grpc(run: Run) -> None:
    program = (
        "import sys; from p2p_server.cli import main\ntry: main(['--help'])\nfinally: assert 'grpc' not in sys.modules"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": PATHS}, capture_output=True, text=True, check=True
    ).stdout
    for flag in Config.__dataclass_fields__.keys() - {"limits"} | {"log_format", "log_level", "open", *flags.LIMITS}:
        assert f"--{flag.replace('_', '-')}" in shown
        assert f"P2P_SERVER_{flag.upper()}" in shown
    assert "authorize" in shown
