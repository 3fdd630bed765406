"""Makes the golden blocks from p2p_core: `python -m tests.vectors.generate`.

What is randomised (a PSS signature, a sealed offer) is made once and kept as long as it holds.
`--check` writes nothing, names what differs, and exits 1 if anything does.
"""

import argparse
import sys

from p2p_core.errors import PunchwireError

from tests.vectors import pages
from tests.vectors.made import (
    channel,
    direct,
    identity,
    introduction,
    key_proof,
    mediator,
    offer,
    punching,
    relay,
    session,
    token,
    transfer,
    versions,
)
from tests.vectors.made.inputs import Blocks

__all__ = ["RANDOMISED", "deterministic", "differences"]

_PAGES = (
    *(identity, key_proof, mediator, relay, offer, token, punching),
    *(channel, session, transfer, introduction, direct, versions),
)

RANDOMISED = {
    **key_proof.RANDOMISED,
    **mediator.RANDOMISED,
    **offer.RANDOMISED,
    **session.RANDOMISED,
    **transfer.RANDOMISED,
}


def deterministic() -> Blocks:
    """Return every block that follows from its inputs alone."""
    return {name: value for page in _PAGES for name, value in page.blocks().items()}


def differences() -> dict[str, pages.Value]:
    """Return the blocks that are not in the pages as they should be, with what they should be."""
    wrong: dict[str, pages.Value] = {
        name: value for name, value in deterministic().items() if pages.read_value(name) != value
    }
    for name, block in RANDOMISED.items():
        try:
            block.check(pages.read_value(name))
        except PunchwireError:
            wrong[name] = block.make()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vectors.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a block differs")
    check = parser.parse_args().check
    wrong = differences()
    for name, value in wrong.items():
        print(f"{name} {'differs' if check else 'written'}")
        if not check:
            pages.write(name, value)
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
