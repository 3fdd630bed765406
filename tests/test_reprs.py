"""What a traceback, a log line or a debugger shows of our own types has no secret in it."""

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import p2p_core
import p2p_peer
import p2p_server
import pytest
from p2p_server.config import Config

from tests.keys import key

_SECRET = re.compile(r"(^|_)(share|shares|punch_share|ticket|phrase|passphrase|password|secret|private|key_pem)$")


def dataclasses_of_ours() -> Iterator[type]:
    for package in (p2p_core, p2p_peer, p2p_server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                for each in vars(importlib.import_module(module.name)).values():
                    if isinstance(each, type) and each.__module__ == module.name and dataclasses.is_dataclass(each):
                        yield each


def test_fields_with_secrets_are_not_shown() -> None:
    named, shown = set(), set()
    for each in dataclasses_of_ours():
        for field in dataclasses.fields(each):
            name = f"{each.__name__}.{field.name}"
            if _SECRET.search(field.name):
                named.add(name)
                if field.repr:
                    shown.add(name)
    assert shown == set()
    assert named >= {
        "Certificate.key_pem",
        "Offer.punch_share",
        "Party.phrase",
        "PunchSecret.shares",
        "RelayTicket.ticket",
        "Token.share",
    }


def test_a_password_of_a_store_is_not_shown() -> None:
    assert "secret" not in repr(Config(Path("state"), None, store="redis://:secret@localhost/0"))


def test_a_key_shows_nothing_of_itself() -> None:
    """These are shown as part of what holds them."""
    numbers = key(0).private_numbers()
    for number in (numbers.d, numbers.p, numbers.q):
        assert str(number) not in repr(key(0))
        assert f"{number:x}" not in repr(key(0)).lower()


@pytest.mark.parametrize("name", ["RelayTicket", "Certificate"])
def test_of_both_of_a_name(name: str) -> None:
    """The peer and the mediator each have one."""
    for each in dataclasses_of_ours():
        if each.__name__ == name:
            fields = [field for field in dataclasses.fields(each) if field.name in ("ticket", "key_pem")]
            assert [field.repr for field in fields] == [False]
