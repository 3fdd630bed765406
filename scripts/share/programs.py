"""The programs as their own parsers describe them, for whoever writes completions and man pages."""

import argparse
import os
from dataclasses import dataclass

from p2p_peer.cli import flags as peer_flags
from p2p_peer.cli import manual as peer_manual
from p2p_peer.cli import parser as peer_parser
from p2p_peer.cli import trust_flags
from p2p_server import flags as server_flags
from p2p_server import logs as server_logs
from p2p_server import manual as server_manual

__all__ = ["FILE", "FOLDER", "HOST", "Command", "Option", "Place", "Program", "Text", "programs"]

FILE, FOLDER, HOST = "file", "folder", "host"

# What can stand for a metavar; for one that is not here, nothing can be known.
KINDS = {
    "CERT": FILE,
    "DIR": FOLDER,
    "DOING": " ".join(trust_flags.TRUST),
    "FILE": FILE,
    "FORMAT": " ".join(server_logs.FORMATS),
    "HOST": HOST,
    "HOW": " ".join(peer_flags.OVERWRITE),
    "KEY": FILE,
    "KEYPAIR": FILE,
    "LEVEL": " ".join(server_logs.LEVELS),
    "MODE": "0 1 2",
    "PATH": FILE,
    "PEERKEY": FILE,
    "PEM": FILE,
    "TARGET": HOST,
}

Text = tuple[str | tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Option:
    """A flag. `metavar` is empty for one without a value."""

    names: tuple[str, ...]
    help: str
    metavar: str
    optional: bool  # the value
    repeats: bool
    several: bool  # values

    @property
    def kind(self) -> str:
        """What its value is: `FILE`, `FOLDER`, `HOST`, words, or empty for anything."""
        return KINDS.get(self.metavar, "")


@dataclass(frozen=True, slots=True)
class Place:
    """A positional argument."""

    metavar: str
    help: str
    optional: bool
    repeats: bool

    @property
    def kind(self) -> str:
        """What it is: `FILE`, `FOLDER`, `HOST`, words, or empty for anything."""
        return KINDS.get(self.metavar, "")


@dataclass(frozen=True, slots=True)
class Command:
    """What follows a program's name, or a command's. `name` is empty for the program itself."""

    name: str
    description: str
    groups: tuple[tuple[str, tuple[Option, ...]], ...]  # by title
    places: tuple[Place, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """All of them."""
        return tuple(option for _, options in self.groups for option in options)


@dataclass(frozen=True, slots=True)
class Program:
    """A program, its commands, and what its manual says besides."""

    name: str
    summary: str
    main: Command
    commands: tuple[Command, ...]
    manual: dict[str, Text]


def programs() -> tuple[Program, Program]:
    """Return both, as they are without anything in the environment."""
    for name in [name for name in os.environ if name.startswith("P2P_SERVER_")]:
        del os.environ[name]
    return _peer(), _server()


def _peer() -> Program:
    commands = tuple(_command(name, make()) for name, make in peer_parser.PARSERS.items())
    texts = peer_manual.HELP | peer_manual.MAN_PAGE
    order = ("DESCRIPTION", "CHAT", "EVENTS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO")
    return Program(
        "p2p-peer",
        "meet another peer, connect to it, chat and send files",
        _command("", peer_parser.chat_parser()),
        commands,
        {title: texts[title] for title in order},
    )


def _server() -> Program:
    parser = server_flags.make_parser()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return Program(
        "p2p-server",
        "the mediator that introduces peers to each other",
        _command("", parser),
        tuple(_command(name, command) for name, command in commands.choices.items()),
        server_manual.MAN_PAGE,
    )


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    groups = tuple(
        (group.title or "", tuple(_option(action) for action in group._group_actions if action.option_strings))
        for group in parser._action_groups
    )
    places = tuple(
        Place(_metavar(action), action.help or "", action.nargs == "?", action.nargs == "+")
        for action in parser._actions
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
    )
    return Command(name, parser.description or "", tuple(group for group in groups if group[1]), places)


def _option(action: argparse.Action) -> Option:
    takes_none = action.nargs == 0
    repeats = isinstance(action, argparse._AppendAction)
    metavar = "" if takes_none else _metavar(action)
    return Option(
        tuple(action.option_strings), action.help or "", metavar, action.nargs == "?", repeats, action.nargs == "+"
    )


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper().replace("_", "-")
