"""A session under anything that may happen to its channels, its users and its processes.

At every step each side has shown a beginning of what the other wrote, once each and in order; knows as delivered only
what was shown; keeps only what is not over; and has left no deadline behind. In the end, if nobody left before,
everything is shown and acknowledged, and every transfer has one outcome: neither side believes more than is so.

What may be known to one side only is what its last words were about when no channel came any more: a message that was
shown, a receipt that was signed. docs/protocol/session.md.
"""

import random
from collections import defaultdict
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from p2p_core.ranges import ranges_of

from tests.core.contents import BLOCK_SIZE, Content, file, folder, stream
from tests.core.moving_sessions import Channel, Party, Sessions
from tests.model_settings import model_settings

_SIZES = (0, 1, 50, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE)
_TIMES = (0.01, 0.3, 2.0, 4.99, 5.0, 14.99, 15.01, 61.0)  # s; around a ping, a farewell, and what counts as dead
_LONG = 305.0, 905.0  # s; in which a disk may stall, and in which it should have stored a file
_MOVES = ("read", "read", "write", "write", "verify", "store", "accept")
_BYTES = (1, 100, 2000, 5000, 2**20)

SIDES = st.integers(0, 1)
KINDS = st.integers(0, 9)
NUMBERS = st.integers(0, 2**16)
SELDOM = st.sampled_from([False] * 6 + [True])  # what ends a session would else leave nothing to look at


def content(kind: int) -> Content:
    """One of a few: the same may be offered again."""
    dice = random.Random(kind)
    things = [folder("f")]
    things += [file(f"{n}", dice.randbytes(dice.choice(_SIZES)), parent=0) for n in range(kind % 5)]
    if kind % 3 == 2:
        things.append(stream(dice.randbytes(dice.choice(_SIZES))))
    return Content.of(*things)


class SessionModel(RuleBasedStateMachine):
    """Two users, two processes, and whatever is between them."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions()
        self.words = 0
        self.journals: dict[tuple[int, int], set[int]] = defaultdict(set)  # verified blocks, by receiver and content

    def party(self, side: int) -> Party:
        return self.sessions.ends[side]

    def goes_on(self, side: int) -> bool:
        return not self.party(side).is_over

    def is_any(self, what: Callable[[Party], bool]) -> bool:
        return any(what(party) for party in self.sessions.ends if not party.is_over)

    def later(self, party: Party) -> list[Channel]:
        return [channel for channel in self.sessions.channels if channel.number > party.number]

    @initialize(kinds=st.tuples(st.lists(KINDS, max_size=3), st.lists(KINDS, max_size=3)), number=NUMBERS)
    def some_files_are_on_their_way(self, kinds: tuple[list[int], list[int]], number: int) -> None:
        for side, offered in enumerate(kinds):
            for kind in offered:
                self.offer(side, kind)
        for party in self.sessions.ends:
            party.hand_on()
            party.read_some(2**20)
            for transfer in tuple(party.offered):
                self.take(party, transfer, number)

    # Users.

    def write(self, side: int) -> None:
        party = self.party(side)
        if party.is_over or party.machine._leaving is not None or not party.may_begin:
            return
        self.words += 1
        party.say(f"{self.words}")

    @rule(side=SIDES, count=st.integers(1, 3))
    def somebody_writes(self, side: int, count: int) -> None:
        for _ in range(count):
            self.write(side)

    @rule()
    def both_write_at_once(self) -> None:
        self.write(0)
        self.write(1)

    @rule(side=SIDES, kind=KINDS)
    def offer(self, side: int, kind: int) -> None:
        party = self.party(side)
        if not party.is_over and party.machine._leaving is None and party.may_begin:
            party.send(content(kind), kind)

    @precondition(lambda self: self.is_any(lambda party: bool(party.offered)))
    @rule(side=SIDES, number=NUMBERS)
    def accept(self, side: int, number: int) -> None:
        party = self.party(side)
        if party.offered and not party.is_over:
            self.take(party, sorted(party.offered)[number % len(party.offered)], number)

    @precondition(lambda self: self.is_any(lambda party: bool(party.offered)))
    @rule(side=SIDES, number=NUMBERS)
    def refuse(self, side: int, number: int) -> None:
        party = self.party(side)
        if party.offered and not party.is_over:
            party.refuse(sorted(party.offered)[number % len(party.offered)])

    @precondition(lambda self: self.is_any(lambda party: bool(party.going)))
    @rule(side=SIDES, number=NUMBERS)
    def give_up_a_transfer(self, side: int, number: int) -> None:
        if self.goes_on(side):
            self.party(side).give_up_transfer(number)

    @precondition(lambda self: self.is_any(lambda party: bool(party.going)))
    @rule(side=SIDES, number=NUMBERS)
    def a_file_fails(self, side: int, number: int) -> None:
        if self.goes_on(side):
            self.party(side).lose(number)

    @rule(side=SIDES, does=SELDOM)
    def nothing_more_is_begun(self, side: int, does: bool) -> None:
        if does and self.goes_on(side):
            self.party(side).done()

    @rule(side=SIDES, does=SELDOM, reason=st.sampled_from(["", "bye"]))
    def say_goodbye(self, side: int, does: bool, reason: str) -> None:
        if does and self.goes_on(side):
            self.party(side).close(reason)

    @rule(side=SIDES, does=SELDOM)
    def leave_in_a_hurry(self, side: int, does: bool) -> None:
        if does and self.goes_on(side):
            self.party(side).abort()

    @precondition(lambda self: self.is_any(lambda party: bool(party.arrived)))
    @rule(side=SIDES)
    def leave_in_a_hurry_while_the_other_stores(self, side: int) -> None:
        party, other = self.party(side), self.party(1 - side)
        if other.arrived and not party.is_over:
            party.abort()
            self.sessions.hand_on()
            other.read_some(2**20)

    @precondition(lambda self: self.is_any(lambda party: bool(party.stored)))
    @rule(side=SIDES)
    def a_goodbye_crosses_a_message(self, side: int) -> None:
        """Of one side, which has all receipts; the other has more to say, and hears of it only now."""
        party, other = self.party(side), self.party(1 - side)
        if other.stored and not party.is_over and not party.going and other.channel is party.channel is not None:
            other.read_some(2**20)
            self.write(1 - side)
            party.close("")
            self.sessions.hand_on()
            other.read_some(2**20)
            party.read_some(2**20)
            self.sessions.pass_time(5.0)
            party.read_some(2**20)
            self.sessions.hand_on()
            other.read_some(2**20)

    # The way between them.

    def move(self, side: int, what: str, size: int) -> None:
        party = self.party(side)
        if party.is_over:
            return
        match what:
            case "read":
                party.read_some(size)
            case "write":
                party.write_blocks(size)
            case "verify":
                party.verify()
            case "store":
                party.store()
            case "accept" if party.offered:
                self.take(party, min(party.offered), size)
        self.sessions.hand_on()

    @rule(moves=st.lists(st.tuples(SIDES, st.sampled_from(_MOVES), st.sampled_from(_BYTES)), min_size=1, max_size=10))
    def some_bytes_move(self, moves: list[tuple[int, str, int]]) -> None:
        for move in moves:
            self.move(*move)

    @rule(seed=NUMBERS, count=st.integers(5, 100))
    def many_bytes_move(self, seed: int, count: int) -> None:
        dice = random.Random(seed)
        for _ in range(count):
            self.move(dice.randrange(2), dice.choice(_MOVES), dice.choice(_BYTES))

    @rule(side=SIDES, size=st.integers(1, 20_000))
    def a_channel_dies_under_what_was_written(self, side: int, size: int) -> None:
        """One side writes all it can, of which the other reads some."""
        party = self.party(side)
        while not party.is_over and party.write_blocks(2**20):
            party.hand_on()
        if self.goes_on(1 - side):
            self.party(1 - side).read_some(size)
        self.both_go_over()

    @rule(side=SIDES)
    def all_is_read_on_one_side(self, side: int) -> None:
        self.move(side, "read", 2**20)

    @precondition(lambda self: len(self.sessions.channels) < 4)
    @rule()
    def a_channel_comes_up(self) -> None:
        self.sessions.raise_channel()

    @precondition(lambda self: self.is_any(lambda party: bool(self.later(party))))
    @rule(side=SIDES, number=NUMBERS)
    def one_side_goes_over(self, side: int, number: int) -> None:
        party = self.party(side)
        if (later := self.later(party)) and not party.is_over:
            party.go_over(later[number % len(later)])

    @rule()
    def both_go_over(self) -> None:
        if all(map(self.goes_on, (0, 1))):
            channel = self.sessions.raise_channel()
            for party in self.sessions.ends:
                party.go_over(channel)

    @rule(side=SIDES)
    def one_side_notices_a_loss(self, side: int) -> None:
        party = self.party(side)
        if party.channel is not None and not party.is_over:
            party.lose_channel()

    # Time, and processes.

    @rule(seconds=st.sampled_from(_TIMES))
    def time_passes(self, seconds: float) -> None:
        self.sessions.pass_time(seconds)

    @rule(seconds=st.sampled_from(_LONG), stores=SIDES)
    def all_is_well_for_long_but_a_disk(self, seconds: float, stores: int) -> None:
        """Both sides ask and answer; one of them at most verifies and stores what comes."""
        end = self.sessions.now + seconds
        while self.sessions.now < end:
            self.sessions.pass_time(2.5)
            for side, party in enumerate(self.sessions.ends):
                if not party.is_over:
                    party.read_some(2**20)
                    party.write_blocks(2**20)
                    if side == stores:
                        party.verify()
                        party.store()
            self.sessions.hand_on()

    @precondition(lambda self: self.is_any(lambda party: party.channel is None))
    @rule(side=SIDES, does=SELDOM)
    def one_side_gives_up_looking(self, side: int, does: bool) -> None:
        party = self.party(side)
        if does and party.channel is None and not party.is_over:
            party.give_up()

    @rule(side=SIDES, does=SELDOM)
    def a_process_dies(self, side: int, does: bool) -> None:
        """Its session is lost, and the other side learns so from the new one. Journals stay."""
        if does:
            self.party(side).is_given_up = True
            self.begin_anew()

    @precondition(lambda self: not any(map(self.goes_on, (0, 1))))
    @rule()
    def begin_anew(self) -> None:
        self.end()
        self.sessions = Sessions()

    # What holds.

    @invariant()
    def it_holds(self) -> None:
        self.sessions.hand_on()
        self.sessions.check_all()

    def teardown(self) -> None:
        self.end()

    def end(self) -> None:
        """Nothing is lost any more: all is said, then both say that they are done."""
        for is_done in (False, True):
            for party in self.sessions.ends:
                if is_done and not party.is_over:
                    party.done()
            self.sessions.hand_on()
            self.sessions.heal(self.take)
            self.sessions.check_end()
        for side, party in enumerate(self.sessions.ends):
            assert party.is_over
            self.note_journals(side, party)

    def note_journals(self, side: int, party: Party) -> None:
        kinds = self.party(1 - side).kinds
        for transfer, incoming in party.incoming.items():
            if transfer not in party.stored:
                self.journals[side, kinds[transfer]] |= {*incoming.blocks} & {*range(incoming.manifest.blocks)}

    def take(self, party: Party, transfer: int, number: int = 0) -> None:
        """Accept all of it or some; what an earlier session has left is not sent again."""
        side = self.sessions.ends.index(party)
        manifest, kind = party.offered[transfer], self.party(1 - side).kinds[transfer]
        dice = random.Random(number)
        wanted = [entry for entry in range(len(manifest)) if dice.random() < 0.7] if number % 2 else []
        party.accept(transfer, ranges_of(wanted), self.journals[side, kind])


TestSession = SessionModel.TestCase
TestSession.settings = model_settings(max_examples=150, steps=40)
