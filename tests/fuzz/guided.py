"""One group's targets under atheris, in a process of their own: started by `make fuzz` for each group.

    PUNCHWIRE_FUZZ_GROUP=offers python -m tests.fuzz.guided -max_total_time=60 CORPUS

The first byte of an input says which target of the group takes the rest. What a parser should not have raised ends the
process; the input is kept here before that, as libFuzzer comes to it only if Python ends in good order.
"""

import hashlib
import logging
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["p2p_core", "p2p_peer", "p2p_server"], enable_loader_override=False):
    from tests.fuzz.targets import GROUPS

__all__ = ["GROUP"]

GROUP = "PUNCHWIRE_FUZZ_GROUP"


def main() -> None:
    targets = GROUPS[os.environ[GROUP]]

    crashes = os.environ.get("PUNCHWIRE_FUZZ_CRASHES")

    def try_one(data: bytes) -> None:
        if not data:
            return
        try:
            targets[data[0] % len(targets)].run(data[1:])
        except BaseException:
            if crashes is not None:
                (Path(crashes) / f"crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
            raise

    logging.disable()  # what a parser warns of a million times
    for hook in ("RegEx", "str"):  # lead the fuzzer into what is compared with text
        atheris.enabled_hooks.add(hook)
    # libFuzzer starts itself again to make a corpus smaller, by its first argument: something that can be executed.
    atheris.Setup([os.environ.get("PUNCHWIRE_FUZZ_PROGRAM", sys.argv[0]), *sys.argv[1:]], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
