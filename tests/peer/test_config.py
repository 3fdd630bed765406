import os
import stat
from pathlib import Path

import pytest
from p2p_core.errors import NotPrivate, UsageError
from p2p_core.wire.candidate import Transport
from p2p_peer import config
from p2p_peer.config import Config, address_service_url, default_config, read_config, stun_server
from p2p_peer.mediator import StunServer

UDP, TCP = Transport.UDP, Transport.TCP


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun.example.org", StunServer("stun.example.org", 3478, UDP)),
        ("stun.example.org:19302", StunServer("stun.example.org", 19302, UDP)),
        ("stun.example.org:54701/tcp", StunServer("stun.example.org", 54701, TCP)),
        ("192.0.2.1/tcp", StunServer("192.0.2.1", 3478, TCP)),
        ("192.0.2.1:1/udp", StunServer("192.0.2.1", 1, UDP)),
        ("[2001:db8::1]", StunServer("2001:db8::1", 3478, UDP)),
        ("[2001:db8::1]:65535/tcp", StunServer("2001:db8::1", 65535, TCP)),
    ],
)
def test_a_stun_server(text: str, server: StunServer) -> None:
    assert stun_server(text) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":3478",
        "host:",
        "host:0",
        "host:65536",
        "host:http",
        "host:٣",
        "host/sctp",
        "host/",
        "a b",
        "2001:db8::1",
        "[192.0.2.1]",
        "[nonsense]",
        "[2001:db8::1",
        "stun:host:3478",
        "stun://host",
        "host\n",
    ],
)
def test_no_stun_server(text: str) -> None:
    with pytest.raises(UsageError, match="is not a STUN server") as caught:
        stun_server(text)
    assert "HOST[:PORT][/udp|/tcp]" in caught.value.advice


def test_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('# mine\nstun = [\n  "a.example",\n  "b.example:1/tcp",\n]\n')
    assert read_config(path) == Config((StunServer("a.example", 3478, UDP), StunServer("b.example", 1, TCP)))


@pytest.mark.parametrize(
    "url", ["https://address.example.org", "http://192.0.2.1:8080/ip?format=json", "https://[2001:db8::1]/"]
)
def test_an_address_service(tmp_path: Path, url: str) -> None:
    assert address_service_url(url) == url
    path = tmp_path / "config.toml"
    path.write_text(f'address_service = "{url}"\nstun = ["a.example"]\n')
    assert read_config(path) == Config((StunServer("a.example", 3478, UDP),), url)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a URL has 1 to 2048 visible ASCII characters"),
        ("address.example.org", "it begins neither with https:// nor with http://"),
        ("ftp://address.example.org/", "it begins neither with https:// nor with http://"),
        ("https:///ip", "it names no computer"),
        ("https://me:secret@address.example.org", "a name or a password does not belong into it"),
        ("https://address.example.org:99999", "that is no URL"),
        ("https://" + "a" * 2041, "a URL has 1 to 2048 visible ASCII characters"),
    ],
)
def test_no_address_service(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_service_url(text)
    assert str(caught.value) == f"the address service cannot be asked: {why}"
    assert "https://address.example.org" in caught.value.advice


@pytest.mark.parametrize("text", ["", "# nothing\n", "stun = []\n"])
def test_an_empty_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    assert read_config(path) == Config()


def test_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_config(None) == read_config(tmp_path / "no") == read_config(tmp_path / "file" / "no") == Config()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"stun = [\n'a'\n'b']\n", r"config\.toml is not TOML: .*line 3"),
        (b"stun = 'a'\n", r"config\.toml, line 1: stun is a list of servers"),
        (b"\nstun = [1]\n", r"config\.toml, line 2: stun is a list of servers"),
        (b"# a b\nstun = [\n'a',\n'a b',\n]\n", r"config\.toml, line 4: 'a b' is not a STUN server"),
        (b"stun = ['\\u0061:0']\n", r"config\.toml, line 1: '.+' is not a STUN server"),
        (b'stun = ["\\u0061:0"]\n', r"config\.toml: 'a:0' is not a STUN server"),
        (
            b"stun = []\nnust = []\n",
            r"config\.toml, line 2: there is no setting 'nust'; there is stun, address_service",
        ),
        (b"stun = []\naddress_service = 1\n", r"config\.toml, line 2: address_service is a URL, such as"),
        (
            b"address_service = 'ftp://a'\n",
            r"config\.toml, line 1: the address service cannot be asked: it begins neither",
        ),
        (b"stun = ['\xff']\n", r"config\.toml is not UTF-8"),
        (b"stun = " + b"[" * 60000, r"config\.toml is not TOML"),
        (b"#" * 70000, r"config\.toml is too large"),
    ],
)
def test_a_wrong_one(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=why) as caught:
        read_config(path)
    assert str(path) in caught.value.advice


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match=r"cannot be read: it is (a folder|not a regular file)"):
            read_config(path)


# Whose it is.


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    path = tmp_path / "punchwire" / "config.toml"
    path.parent.mkdir()
    path.write_text("stun = ['a.example']\n")
    path.chmod(0o664)  # an editor's, with umask 002
    assert read_config(path) == Config((StunServer("a.example", 3478, UDP),))
    return path


def test_one_that_everybody_can_write_to(chosen: Path) -> None:
    chosen.chmod(0o666)
    with pytest.raises(NotPrivate, match=f"^everybody on this computer can write to {chosen}, so nothing in it is"):
        read_config(chosen)


def test_one_that_everybody_can_exchange(chosen: Path) -> None:
    chosen.parent.chmod(0o777)
    with pytest.raises(NotPrivate, match=f"can write to {chosen.parent}, and so put something else in .* of {chosen}$"):
        read_config(chosen)


def test_one_of_another_user(chosen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = list(chosen.stat())
    fields[stat.ST_UID] += 1
    monkeypatch.setattr(config.os, "fstat", lambda descriptor: os.stat_result(fields))
    with pytest.raises(NotPrivate, match=f"^{chosen} belongs to another user of this computer, so nothing in it is"):
        read_config(chosen)


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert default_config() == tmp_path / ".config" / "punchwire" / "config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    assert default_config() == tmp_path / "other" / "punchwire" / "config.toml"


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_config() is None
