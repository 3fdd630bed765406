"""Entry point of `p2p-peer`: parse, dispatch, and turn every error into one line and one exit code."""

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2p_core.errors import PunchwireError
from p2p_core.private_memory import keep_memory_private

from p2p_peer.cli import outputs, signals

if TYPE_CHECKING:
    import argparse

__all__ = ["main", "run_program"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    from p2p_peer.cli.parser import parse

    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.command in ("chat", "token", "direct", "netcheck"):
        return _told(options)
    if options.command == "verify":
        from p2p_peer.cli.verify import verify

        return verify(options)
    if options.command == "trust":
        from p2p_peer.cli.trust import trust

        return trust(options)
    from p2p_peer.cli.exit_codes import exit_code
    from p2p_peer.cli.keys import fingerprint, keygen
    from p2p_peer.cli.sentences import print_error

    try:
        return keygen(options) if options.command == "keygen" else fingerprint(options)
    except PunchwireError as error:
        print_error(error)
        return exit_code(error)


def _told(options: "argparse.Namespace") -> int:
    """Run what goes over a network, and tell its story if that is wanted."""
    if not options.verbose:
        return _run(options)
    from p2p_peer.cli.story import telling

    with telling():  # from here on, so that it tells how long the imports take
        return _run(options)


def _run(options: "argparse.Namespace") -> int:
    gc.disable()  # imports make many objects and no garbage; not to look for any saves 8 of 110 ms
    if options.command == "netcheck":
        from p2p_peer.cli.netcheck import netcheck as run
    else:
        from p2p_peer.cli.run import run

    gc.enable()
    return run(options)


def run_program() -> None:
    """Be the process: `main`, and what only a process of its own may do to itself.

    Signals count from the first moment, while modules are still imported, to the last, when all is done already.
    """
    signals.end_at_once()
    keep_memory_private()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines are not for people, and name addresses
    _mend_standard_streams()
    code = 1
    try:
        code = main()
        outputs.flush()
    except OSError as error:
        if error.errno not in outputs.LOST:
            raise
        with contextlib.suppress(OSError):
            if not isinstance(error, BrokenPipeError):  # whoever has read enough, as `head` does, need not be told
                print(f"p2p-peer: the output cannot be written: {error.strerror}", file=sys.stderr)
        outputs.silence()
        code = code or 1
    signals.done()
    sys.exit(code)


def _mend_standard_streams() -> None:
    """Make closed streams empty ones, and let nothing the other side writes fail for want of an encoding."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


if __name__ == "__main__":
    run_program()
