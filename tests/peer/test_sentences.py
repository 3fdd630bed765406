import sys

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


def test_no_part_of_an_error_looks_like_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mediator ends its stream with a sentence of its own, and knows how wide terminals are."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    print_error(NoPath("x" * 30 + "* bob's key verified", advice="y" * 30 + "* connected directly"))
    assert capsys.readouterr().err.splitlines() == [
        "p2p-peer: " + "x" * 30,
        "  * bob's key verified",
        "          " + "y" * 30,
        "  * connected directly",
    ]
