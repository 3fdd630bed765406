"""Who is believed: the table of docs/protocol/direct.md, row by row."""

from pathlib import Path

import pytest
from p2p_core.errors import PeerKeyChanged, PeerUnknown, ProofFailed, PunchwireError
from p2p_core.wire.candidate import Address
from p2p_peer.events import Standing
from p2p_peer.serverless.judging import Judge
from p2p_peer.trust import TrustStore

from tests.peer.directly import ALICE, BOB, id_of

TARGET = "bob.example:8000"
WHERE = Address.of("192.0.2.1", 8000)
NOW = 1_700_000_000


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "state")


@pytest.mark.parametrize("require_known", [False, True])
@pytest.mark.parametrize("target", [None, TARGET])
@pytest.mark.parametrize("given", [None, ALICE, BOB])
@pytest.mark.parametrize("there", [None, ALICE, BOB], ids=["nobody there", "Alice there", "Bob there"])
@pytest.mark.parametrize("known", [False, True])
def test_who_is_believed(
    store: TrustStore, known: bool, there: int | None, given: int | None, target: str | None, require_known: bool
) -> None:
    """It is Bob who comes."""
    if known:
        store.met(id_of(BOB), None, NOW)
    if there is not None:
        store.met(id_of(there), TARGET, NOW)
    if given is not None:
        expected: Standing | type[PunchwireError] = Standing.EXPECTED if given == BOB else ProofFailed
    elif target is not None and there == ALICE:
        expected = PeerKeyChanged
    elif there == BOB or (known and target is None):
        expected = Standing.REMEMBERED
    elif known:
        expected = PeerUnknown if require_known else Standing.KNOWN_ELSEWHERE
    else:
        expected = PeerUnknown if require_known else Standing.FIRST_USE
    judge = Judge(store, None if given is None else id_of(given), target, require_known)
    if isinstance(expected, Standing):
        assert judge.check(id_of(BOB), WHERE) is expected
    else:
        with pytest.raises(expected):
            judge.check(id_of(BOB), WHERE)


def test_whose_words_were_compared_is_known_elsewhere_too(store: TrustStore) -> None:
    store.met(id_of(BOB), None, NOW)
    store.verify(id_of(BOB))
    for require_known in (False, True):
        judge = Judge(store, None, TARGET, require_known=require_known)
        assert judge.check(id_of(BOB), WHERE) is Standing.KNOWN_ELSEWHERE


@pytest.mark.parametrize("there", [None, ALICE])
def test_the_advice_is_for_this_folder(tmp_path: Path, there: int | None) -> None:
    store = TrustStore(tmp_path / "my state")
    store.met(id_of(BOB), None, NOW)
    if there is not None:
        store.met(id_of(there), TARGET, NOW)
    with pytest.raises(PeerUnknown if there is None else PeerKeyChanged) as caught:
        Judge(store, None, TARGET, require_known=True).check(id_of(BOB), WHERE)
    command = f"verify {id_of(BOB).short}" if there is None else f"remove {id_of(there).short}"
    assert caught.value.advice.endswith(f": p2p-peer trust {command} --state-dir '{tmp_path / 'my state'}'")


@pytest.mark.parametrize("at_target", [False, True])
def test_what_is_remembered(store: TrustStore, at_target: bool) -> None:
    judge = Judge(store, None, TARGET, require_known=False)
    assert judge.remember(id_of(BOB), Standing.FIRST_USE, at_target=at_target) == ""
    store.rename(id_of(BOB), "Bob")
    assert judge.remember(id_of(BOB), Standing.REMEMBERED, at_target=at_target) == "Bob"
    [bob] = store.peers()
    assert bob.targets == ((TARGET,) if at_target else ())


def test_a_key_that_was_given_is_not_remembered(store: TrustStore) -> None:
    """Or a slip with --peer-key would be believed from then on."""
    judge = Judge(store, id_of(BOB), TARGET, require_known=True)
    assert judge.remember(id_of(BOB), Standing.EXPECTED, at_target=True) == ""
    assert store.peers() == ()


def test_a_name_stands_in_the_sentence(store: TrustStore) -> None:
    store.met(id_of(ALICE), TARGET, NOW)
    store.rename(id_of(ALICE), "Alice B.")
    with pytest.raises(PeerKeyChanged) as caught:
        Judge(store, None, TARGET, require_known=False).check(id_of(BOB), WHERE)
    assert str(caught.value) == (
        f"the key of Alice B. at {TARGET} has changed: it was {id_of(ALICE).short}, and what is at {WHERE} has "
        f"{id_of(BOB).short}. Somebody may be in its place"
    )
