import pytest
from p2p_core.errors import Interrupted, NoPath
from p2p_peer.cli.sentences import print_error, print_warning


def test_what_happened_and_below_it_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(NoPath("nobody \x1b[31mis there\n", advice="Look\x07 elsewhere."))
    print_error(Interrupted("interrupted"))
    print_warning("it is late", "Go home.")
    assert capsys.readouterr() == (
        "",
        "p2p-peer: nobody \\x1b[31mis there\\n\n"
        "          Look\\x07 elsewhere.\n"
        "p2p-peer: interrupted\n"
        "p2p-peer: warning: it is late\n"
        "          Go home.\n",
    )
