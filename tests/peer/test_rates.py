import pytest
from p2p_peer.cli.rates import Rates
from p2p_peer.events import Phase, TransferProgress


def progress(seconds: float, moved: int, phase: Phase = Phase.MOVING, transfer: int = 1) -> TransferProgress:
    return TransferProgress(transfer, True, "a", phase, moved, 10**9, moved, seconds)


def test_nothing_is_known_at_first() -> None:
    rates = Rates()
    assert rates.reached(progress(0.0, 0)) is None
    assert rates.reached(progress(0.0, 10)) is None
    assert rates.reached(progress(0.5, 100)) == 200


def test_only_the_last_seconds_count() -> None:
    rates = Rates()
    told = [rates.reached(progress(second / 10, 1000 * second if second < 100 else 100_000)) for second in range(151)]
    assert told[99] == pytest.approx(10_000)
    assert told[125] == pytest.approx(5_000)
    assert told[150] == 0


def test_a_pause_is_in_it() -> None:
    rates = Rates()
    rates.reached(progress(0.0, 0))
    rates.reached(progress(1.0, 1000))
    assert rates.reached(progress(21.0, 2000)) == 50


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.HASHING, Phase.VERIFYING])
def test_a_phase_without_bytes_begins_anew(phase: Phase) -> None:
    rates = Rates()
    rates.reached(progress(0.0, 0))
    assert rates.reached(progress(1.0, 1000, phase)) is None
    assert rates.reached(progress(2.0, 1000)) is None
    assert rates.reached(progress(3.0, 2000)) == 1000


def test_each_transfer_has_its_own() -> None:
    rates = Rates()
    for transfer in (1, 2):
        rates.reached(progress(0.0, 0, transfer=transfer))
    assert rates.reached(progress(1.0, 10, transfer=1)) == 10
    assert rates.reached(progress(1.0, 20, transfer=2)) == 20
    rates.over(1)
    rates.over(3)
    assert rates.reached(progress(2.0, 20, transfer=1)) is None
    assert rates.reached(progress(2.0, 40, transfer=2)) == 20
