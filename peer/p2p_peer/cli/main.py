"""Entry point of `p2p-peer`: parse, dispatch, and turn every error into one line and one exit code."""

import os
import signal
import sys
from collections.abc import Sequence

from p2p_peer.cli.parser import parse

__all__ = ["main", "run_program"]

_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.command == "chat":
        from p2p_peer.cli.run import run

        return run(options)
    from p2p_core.errors import PunchwireError

    from p2p_peer.cli.exit_codes import exit_code
    from p2p_peer.cli.keys import fingerprint, keygen

    try:
        return keygen(options) if options.command == "keygen" else fingerprint(options)
    except PunchwireError as error:
        print(f"p2p-peer: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return _INTERRUPTED


def run_program() -> None:
    """Be the process: `main`, and what only a process of its own may do to itself.

    Signals count from the first moment, while modules are still imported, to the last, when all is done already.
    """
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(_INTERRUPTED))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines are not for people, and name addresses
    _mend_standard_streams()
    code = main()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
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
