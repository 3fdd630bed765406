"""Entry point of `p2p-peer`: parse, dispatch, and turn every error into one line and one exit code."""

import sys
from collections.abc import Sequence

from p2p_peer.cli.parser import parse

__all__ = ["main"]


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
        return 130


if __name__ == "__main__":
    sys.exit(main())
