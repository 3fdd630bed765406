"""The command line of `p2p-peer trust`."""

import argparse
from pathlib import Path

__all__ = ["TRUST", "trust_fault", "trust_parser"]

TRUST = {"list": "", "name": "WHO and NAME", "verify": "WHO", "remove": "WHO"}
"""What can be done, and what it takes."""


def trust_parser() -> argparse.ArgumentParser:
    """Return the parser; `trust_fault` then says whether what was given fits together."""
    parser = argparse.ArgumentParser(
        prog="p2p-peer trust",
        allow_abbrev=False,
        description="List, name, verify or remove the peers and mediators that are remembered.",
    )
    parser.add_argument(
        "doing",
        metavar="DOING",
        nargs="?",
        choices=TRUST,
        default="list",
        help="list, which is done without it; name WHO NAME; verify WHO, by comparing words, or a mediator's id; "
        "or remove WHO",
    )
    parser.add_argument(
        "who",
        metavar="WHO",
        nargs="?",
        help="a peer: its name, its id or 4 or more characters that the id begins with, or HOST:PORT where it was met; "
        "to verify or remove, a mediator's HOST:PORT as well",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="what to call the peer; '' takes its name away")
    parser.add_argument("--key", metavar="KEY", type=Path, help="with verify: your key, to show its words as well")
    parser.add_argument("--yes", action="store_true", help="with verify: do not ask, the words are the same")
    parser.add_argument(
        "--json", action="store_true", help="print all that is remembered then as one JSON object, with ids in full"
    )
    parser.add_argument(
        "--state-dir", metavar="DIR", type=Path, help="where they are remembered (~/.local/state/punchwire)"
    )
    return parser


def trust_fault(options: argparse.Namespace) -> str | None:
    """Say what does not fit together; None if all does."""
    takes = TRUST[options.doing]
    if takes != " and ".join(word for word in ("WHO", "NAME") if getattr(options, word.lower()) is not None):
        return f"{options.doing} takes {takes or 'nothing more'}"
    if options.doing != "verify" and (options.yes or options.key is not None):
        return "--yes and --key are for verify"
    return None
