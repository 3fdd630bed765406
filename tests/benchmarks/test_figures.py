import argparse

import pytest

from benchmarks.figures import Spread, as_table, machine, positive


def test_a_spread() -> None:
    spread = Spread.of(iter([3.0, 1.0, 8.0]))
    assert spread == Spread(3.0, 1.0, 8.0)
    assert spread.text(1) == "3.0 (1.0–8.0)"
    assert spread.text(2, 10) == "0.30 (0.10–0.80)"


def test_a_table() -> None:
    assert as_table(("who", "s"), [("Punchwire", "1"), ("scp", "12.5")]).splitlines() == [
        "who           s",
        "Punchwire     1",
        "scp        12.5",
    ]


def test_the_machine_has_no_name() -> None:
    assert set(machine()) == {"system", "processors", "python"}


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many"])
def test_what_is_no_number_of_rounds(text: str) -> None:
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)
