"""What a user has chosen once and for all: `~/.config/punchwire/config.toml`. It need not be there.

stun = ["stun.example.org:3478", "[2001:db8::1]/tcp"]
address_service = "https://address.example.org"
"""

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2p_core import private_files
from p2p_core.errors import Malformed, UsageError
from p2p_core.wire.candidate import Address, Transport

from p2p_peer.gather.http_get import Url
from p2p_peer.mediator import StunServer
from p2p_peer.private_file import check_way
from p2p_peer.regular_files import open_regular

__all__ = ["Config", "address_service_url", "default_config", "read_config", "stun_server"]

STUN_PORT = 3478  # RFC 8489 §18.6
_MAX_FILE_BYTES = 64 * 1024
_STUN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+))(?::([0-9]{1,5}))?(?:/(udp|tcp))?")
_STUN_FORM = "HOST[:PORT][/udp|/tcp], such as stun.example.org:3478 or [2001:db8::1]/tcp"
_SETTINGS = ("stun", "address_service")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings."""

    stun: tuple[StunServer, ...] = ()
    address_service: str | None = None  # a URL


def default_config() -> Path | None:
    """Return `$XDG_CONFIG_HOME/punchwire/config.toml`, or the one below `~/.config` (XDG Base Directory Specification).

    None for a user without a home folder.
    """
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():  # which the specification says to ignore
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "punchwire" / "config.toml"


def read_config(path: Path | None) -> Config:
    """Read the settings; a file that is not there has none. Raises `UsageError`, with file and line.

    Also `NotPrivate`, when it is another user's choice: who we are told that we are is asked of whom it names.
    """
    if path is None:
        return Config()
    try:
        text = _read(path).decode("utf-8")
        if len(text) > _MAX_FILE_BYTES:
            raise UsageError(f"{path} is too large to be a configuration", advice=_mend(path))
        settings = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", advice=_mend(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", advice=_mend(path)) from error
    except (ValueError, RecursionError) as error:  # of a number without end too; of brackets in brackets in brackets
        raise UsageError(f"{path} is not TOML: {error}", advice=_mend(path)) from error
    return _checked(settings, text, path)


def _read(path: Path) -> bytes:
    """Return the first bytes of a file, one more than it may have. Raises `OSError` and `NotPrivate`."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        private_files.check_owner(path, status, os.geteuid())
        private_files.check_not_for_all(path, status)
        check_way(path)
        return file.read(_MAX_FILE_BYTES + 1)


def stun_server(text: str) -> StunServer:
    """Read HOST[:PORT][/udp|/tcp]: port 3478 and UDP where none is given, as in RFC 7064. Raises `UsageError`."""
    match = _STUN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a STUN server", advice=f"A STUN server is {_STUN_FORM}.")
    bracketed, name, number, transport = match.groups()
    port = STUN_PORT if number is None else int(number)
    try:
        if bracketed is not None and Address.of(bracketed, port).ip.version == 4:
            raise Malformed("no IPv6 address")
        Address.of("::", port)
    except Malformed as error:
        raise UsageError(f"{text!r} is not a STUN server: {error}", advice=f"A STUN server is {_STUN_FORM}.") from error
    return StunServer(bracketed or name, port, Transport(transport or "udp"))


def address_service_url(text: str) -> str:
    """Return the URL of an address service as it is, if it can be one. Raises `UsageError`."""
    try:
        Url.of(text)
    except Malformed as error:
        raise UsageError(
            f"the address service cannot be asked: {error}",
            advice="It is a URL that answers with nothing but your address, such as https://address.example.org.",
        ) from error
    return text


def _checked(settings: dict[str, Any], text: str, path: Path) -> Config:
    for key in settings:
        if key not in _SETTINGS:
            raise _wrong(path, text, key, f"there is no setting {key!r}; there is {', '.join(_SETTINGS)}")
    servers = settings.get("stun", [])
    if not isinstance(servers, list) or not all(isinstance(server, str) for server in servers):
        raise _wrong(path, text, "stun", 'stun is a list of servers, such as ["stun.example.org:3478"]')
    found = []
    for server in servers:
        try:
            found.append(stun_server(server))
        except UsageError as error:
            raise _wrong(path, text, server, str(error)) from error
    service = settings.get("address_service")
    if service is not None:
        if not isinstance(service, str):
            raise _wrong(
                path, text, "address_service", 'address_service is a URL, such as "https://address.example.org"'
            )
        try:
            address_service_url(service)
        except UsageError as error:
            raise _wrong(path, text, "address_service", str(error)) from error
    return Config(tuple(found), service)


def _wrong(path: Path, text: str, what: str, why: str) -> UsageError:
    """Say what is wrong, and in the first line that has it; TOML does not tell, and escapes may hide it."""
    lines = (number for number, line in enumerate(text.splitlines(), 1) if what in line.partition("#")[0])
    number = next(lines, None)
    where = path if number is None else f"{path}, line {number}"
    return UsageError(f"{where}: {why}", advice=_mend(path))


def _mend(path: Path) -> str:
    return f"Mend {path}, or remove it; README.md says what may stand in it."
