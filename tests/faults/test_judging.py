"""The judge finds what it is there for, in made-up observations; and nothing in one where all is well."""

from dataclasses import replace

import pytest

from tests.faults.deadlines import INTERRUPTED
from tests.faults.judging import judge
from tests.faults.observing import Arrived, Observation, Process

LINES = {side: tuple(f"{side}0/{number}" for number in range(3)) for side in "ab"}
A = Process("a0", 0, connected=True, wrote=LINES["a"], shown=(LINES["b"],))
B = Process("b0", 0, connected=True, wrote=LINES["b"], shown=(LINES["a"],))
CHAT = Observation(is_chat=True, faults=("cut link",), processes=(A, B))
SENDER, RECEIVER = Process("a0", 0, connected=True), Process("b0", 0, connected=True, received=(1,))
FILES = Observation(is_chat=False, faults=("kill peer",), processes=(SENDER, RECEIVER), arrived=(Arrived("a", 1),))


def chat(a: Process = A, b: Process = B, *, faults: tuple[str, ...] = CHAT.faults) -> list[str]:
    return judge(replace(CHAT, processes=(a, b), faults=faults))


def files(arrived: Arrived, *processes: Process) -> list[str]:
    return judge(replace(FILES, arrived=(arrived,), processes=processes or FILES.processes))


def test_what_is_well() -> None:
    assert judge(CHAT) == judge(FILES) == []


class TestMessages:
    def test_one_is_lost(self) -> None:
        [wrong] = chat(b=replace(B, shown=(LINES["a"][:2],)))
        assert wrong == "a0 ended well, and 1 of its messages were lost, the first 'a0/2'"

    def test_one_is_lost_and_its_writer_was_told(self) -> None:
        assert chat(replace(A, code=6, error="connection-lost"), replace(B, shown=(LINES["a"][:2],))) == []

    def test_the_reader_was_killed(self) -> None:
        assert chat(b=replace(B, shown=(LINES["a"][:2],), code=-9, killed=True)) == []

    def test_another_reader_was_killed(self) -> None:
        killed = Process("b0", -9, killed=True, connected=True, shown=((),))
        [wrong] = judge(replace(CHAT, processes=(A, killed, replace(B, name="b1", shown=(LINES["a"][:2],)))))
        assert "1 of its messages were lost" in wrong

    def test_one_is_lost_when_all_is_well_again(self) -> None:
        told = replace(A, code=6, error="connection-lost"), replace(B, code=-9, killed=True)
        again = replace(A, name="a1"), replace(B, name="b1", shown=((),))
        wrong = judge(replace(CHAT, processes=told, mended=again))
        assert any("a1 ended well, and 3 of its messages were lost" in sentence for sentence in wrong)

    def test_the_writer_was_killed(self) -> None:
        assert chat(replace(A, code=-9, killed=True), replace(B, shown=((),))) == []

    def test_one_is_shown_twice(self) -> None:
        wrong = chat(b=replace(B, shown=((*LINES["a"], LINES["a"][2]),)))
        assert "'a0/2' was shown 2 times, and written 1 times" in wrong

    def test_one_is_shown_twice_in_two_sessions(self) -> None:
        [wrong] = chat(b=replace(B, shown=(LINES["a"], LINES["a"][2:])))
        assert wrong == "'a0/2' was shown 2 times, and written 1 times"

    def test_one_is_shown_again_to_who_came_after_a_killed_one(self) -> None:
        killed = replace(B, shown=(LINES["a"][:2],), code=-9, killed=True)
        again = replace(B, name="b1", shown=(LINES["a"][1:],), wrote=())
        assert judge(replace(CHAT, processes=(A, killed, again))) == []

    def test_one_is_shown_again_to_who_came_after_an_interrupted_one(self) -> None:
        interrupted = replace(B, shown=(LINES["a"][:2],), code=130, signalled=0.1)
        processes = A, interrupted, replace(B, name="b1")
        assert judge(replace(CHAT, processes=processes, faults=("pause peer", "signal peer"))) == []
        wrong = judge(replace(CHAT, processes=processes, faults=("signal peer",)))
        assert "'a0/0' was shown 2 times, and written 1 times" in wrong, "it has told what it was shown"

    @pytest.mark.parametrize("order", [(0, 2), (1, 0, 2), (2, 1, 0)])
    def test_the_order_is_another(self, order: tuple[int, ...]) -> None:
        wrong = chat(b=replace(B, shown=(tuple(LINES["a"][number] for number in order),)))
        assert any("in another order" in sentence for sentence in wrong)

    def test_one_that_nobody_wrote(self) -> None:
        wrong = chat(b=replace(B, shown=((*LINES["a"], "hello"),)))
        assert "'hello' was shown, and never written" in wrong


class TestFiles:
    def test_they_are_lost(self) -> None:
        assert files(Arrived("a")) == ["what a sent is not there"]

    def test_they_are_there_twice(self) -> None:
        assert files(Arrived("a", 2)) == ["1 processes of a left 2 copies of what they sent"]

    def test_they_were_sent_twice(self) -> None:
        assert files(Arrived("a", 2), replace(SENDER, code=-9, killed=True), replace(SENDER, name="a1"), RECEIVER) == []

    def test_they_are_altered(self) -> None:
        assert files(Arrived("a", 1, strays=("tree",))) == ["something else is there than a sent: tree"]

    def test_a_part_is_there_which_nothing_explains(self) -> None:
        assert len(files(Arrived("a", 1, parts=1))) == 1

    def test_a_part_is_there_of_a_full_disk(self) -> None:
        full = replace(FILES, faults=("fill target folder",), arrived=(Arrived("a", 1, parts=1),))
        assert judge(full) == []

    def test_something_temporary_is_left(self) -> None:
        [wrong] = files(Arrived("a", 1, staged=(".punchwire-0",)))
        assert wrong == "left behind: .punchwire-0 of what a sent"

    def test_they_are_said_to_be_there_twice(self) -> None:
        [wrong] = files(Arrived("a", 1), SENDER, replace(RECEIVER, received=(2,)))
        assert wrong == "b0 said more than once in a session that all is there"


class TestEndings:
    def test_one_hangs(self) -> None:
        assert chat(replace(A, hung=True, code=-6)) == ["a0 did not end within its deadline"]

    @pytest.mark.parametrize(
        ("code", "error"), [(1, "remote-protocol-error"), (4, "proof-failed"), (4, "clocks-differ"), (2, "usage")]
    )
    def test_an_error_that_no_fault_explains(self, code: int, error: str) -> None:
        [wrong] = chat(replace(A, code=code, error=error))
        assert wrong == f"a0 ended with {error}, exit code {code}, which none of the faults explains"

    def test_an_error_that_a_fault_explains(self) -> None:
        assert chat(replace(A, code=4, error="clocks-differ"), faults=("move clock",)) == []

    def test_an_error_without_a_fault(self) -> None:
        assert chat(replace(A, code=6, error="connection-lost"), faults=()) == [
            "a0 failed without a fault: connection-lost"
        ]

    def test_another_exit_code_than_the_error_has(self) -> None:
        assert chat(replace(A, code=7, error="connection-lost"))

    def test_no_word_of_why(self) -> None:
        assert chat(replace(A, code=1)) == ["a0 ended with exit code 1, and said no error"]

    def test_interrupted_by_nobody(self) -> None:
        assert chat(replace(A, code=130, error="interrupted")) == ["a0 was interrupted by nobody"]

    def test_interrupted_too_late(self) -> None:
        [wrong] = chat(replace(A, code=130, error="interrupted", signalled=INTERRUPTED + 1))
        assert "to end after a signal" in wrong

    @pytest.mark.parametrize(
        "said",
        [
            "Traceback (most recent call last):",
            "RuntimeWarning: coroutine 'f' was never awaited",
            "Task was destroyed but it is pending!",
            "Task exception was never retrieved",
            "ResourceWarning: unclosed <socket.socket fd=7>",
            "anything",
        ],
    )
    def test_something_on_standard_error(self, said: str) -> None:
        assert len(chat(replace(A, errors=said))) == 1

    def test_that_a_disk_is_full(self) -> None:
        said = "the receipt is not kept: /state/receipts cannot be written to: No space left on device\n"
        assert chat(replace(A, errors=said), faults=("fill state folder",)) == []
        assert len(chat(replace(A, errors=said))) == 1
        assert len(chat(replace(A, errors=f"{said}anything"), faults=("fill state folder",))) == 1

    def test_what_is_no_event(self) -> None:
        assert len(chat(replace(A, garbage=("hello\n",)))) == 1

    def test_what_still_fails_when_all_is_well_again(self) -> None:
        failing = Process("a1", 5, "peer-did-not-come")
        assert judge(replace(CHAT, mended=(failing,))) == [
            "a1 was started when all was well again, and ended with peer-did-not-come, exit code 5"
        ]


def test_what_is_left_behind() -> None:
    left = ("the process 1 p2p-peer", "the port mapping 1", "at mediator a punchwire_peers is 1")
    assert judge(replace(CHAT, left=left)) == [f"left behind: {what}" for what in left]


def test_what_else_went_wrong() -> None:
    assert judge(replace(CHAT, wrong=("mediator a ended with exit code 1",))) == ["mediator a ended with exit code 1"]
