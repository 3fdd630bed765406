#!/usr/bin/env python3
"""Many peers in one process, for measuring a mediator; benchmarks/mediator.py starts it.

    benchmarks/swarm.py --target HOST:PORT … --pairs N     [--concurrency N | --rate N] [--seconds S] [--fetch-first]
    benchmarks/swarm.py --target HOST:PORT … --waiting N   [--concurrency N]
    benchmarks/swarm.py --target HOST:PORT … --flood N     [--rate N] [--kind silent|tls|idle|stream]
    benchmarks/swarm.py --target HOST:PORT … --churn S     [--concurrency N]

Each peer has a TLS connection, an address in 127.1.0.0/16 and a key of its own; the mediator has to admit them all
(--open, or `--authorize DIR`, which files their public keys and ends). With several targets, each pair has a peer at
two of them, in turn. Prints a line of JSON when it is done; the second and third also when all are there, and go on
until standard input ends.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2p_core.identity import public_pem
from p2p_proto import mediator_pb2 as pb

from benchmarks.figures import positive
from benchmarks.swarm_keys import KeyRing, SwarmKey
from benchmarks.swarm_peer import OPENING, PREFACE, Connection, Ended, Mediator, SwarmPeer

OFFER = os.urandom(1400)  # bytes; a sealed offer of RSA-3072 keys with a handful of candidates has about as many
NOBODY = bytes(32)  # whom those who wait ask for
STEP_TIME = 30.0  # s for a peer to get through one thing
# Of connections that prove nothing: what they say behind TLS, which the silent ones do not have.
KINDS = {"silent": b"", "tls": b"", "idle": PREFACE, "stream": OPENING}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for, and print what came of it."""
    options = parse(arguments)
    keys = KeyRing.load(options.keys) if options.keys else KeyRing.make(options.bits, options.first_key + options.need)
    if options.save_keys:
        keys.save(options.save_keys)
    if options.authorize:
        authorize(keys, options)
    elif options.target:
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        os.nice(options.nice)
        print(json.dumps(asyncio.run(Swarm(keys, options).run())), flush=True)
    return 0


def authorize(keys: KeyRing, options: argparse.Namespace) -> None:
    """File public keys as `p2p-server authorize` does, for a thousand a second."""
    options.authorize.mkdir(parents=True, exist_ok=True)
    for number in range(options.first_key, options.first_key + options.need):
        key = keys.key(number)
        (options.authorize / f"{key.id}.pem").write_bytes(public_pem(key.private.public_key()))


class Swarm:
    """Peers that do one thing."""

    def __init__(self, keys: KeyRing, options: argparse.Namespace) -> None:
        """Take its keys from `keys`, beginning with `first_key`."""
        self._options = options
        numbers = range(options.first_key, options.first_key + options.need)
        self._keys = itertools.cycle([keys.key(number % len(keys)) for number in numbers])
        mediators = [Mediator(host, port, tls=not options.insecure) for host, port in options.target]
        self._mediators = itertools.cycle(mediators)
        self._failed: Counter[str] = Counter()  # by reason

    async def run(self) -> dict[str, Any]:
        """Do it; return what came of it."""
        if self._options.waiting:
            return await self._wait()
        if self._options.flood:
            return await self._flood()
        if self._options.churn:
            return await self._churn()
        return await self._match()

    def _peer(self) -> SwarmPeer:
        return SwarmPeer(next(self._mediators), next(self._keys))

    async def _match(self) -> dict[str, Any]:
        """Pairs that meet and leave."""
        times: list[float] = []
        if self._options.on_go:
            print("ready", flush=True)
            sys.stdin.readline()
        cpu, began = time.process_time(), time.monotonic()
        until = began + self._options.seconds if self._options.seconds else float("inf")

        async def meet() -> None:
            times.append(await self._meet(self._peer(), self._peer()))

        def more() -> Iterator[Callable[[], Awaitable[None]]]:
            for _ in range(self._options.pairs):
                if time.monotonic() < until:
                    yield meet

        await self._each(more())
        taken = time.monotonic() - began
        return {
            "pairs": len(times),
            "seconds": round(taken, 3),
            "cpu_seconds": round(time.process_time() - cpu, 2),
            "failed": self._failed,
            "match_seconds": [round(each, 6) for each in times],
        }

    async def _meet(self, first: SwarmPeer, second: SwarmPeer) -> float:
        """Let two peers meet; return the seconds from the second advertisement to the match on both sides."""
        try:
            await asyncio.gather(self._enter(first), self._enter(second))
            first.advertise(second.key.id, OFFER)
            second.advertise(first.key.id, OFFER)
            advertised = time.monotonic()
            matches = [(await peer.receive("match")).match for peer in (second, first)]
            taken = time.monotonic() - advertised
            check(matches, (first.key, second.key))
            first.leave(second.key.id)
            await second.receive("leave")
            await asyncio.gather(first.finish(), second.finish())
            return taken
        finally:
            first.close()
            second.close()

    async def _enter(self, peer: SwarmPeer) -> None:
        if self._options.fetch_first:
            await peer.fetch_leaf()
        await peer.connect()
        await peer.enter()

    async def _wait(self) -> dict[str, Any]:
        """Peers that wait for somebody who does not come."""
        peers: list[SwarmPeer] = []

        async def arrive() -> None:
            peer = self._peer()
            try:
                await self._enter(peer)
            except BaseException:
                peer.close()
                raise
            peer.advertise(NOBODY, OFFER)
            peers.append(peer)

        began = time.monotonic()
        await self._each(arrive for _ in range(self._options.waiting))
        taken = time.monotonic() - began
        print(json.dumps({"waiting": len(peers), "seconds": round(taken, 3), "failed": self._failed}), flush=True)
        await input_ended()
        ends = Counter(peer.end for peer in peers if peer.end)
        for peer in peers:
            peer.close()
        return {"waiting": len(peers), "pings": sum(peer.pings for peer in peers), "lost": ends}

    async def _flood(self) -> dict[str, Any]:
        """Connections that prove nothing: so many are held, and the oldest gives way to each new one."""
        held: dict[Connection, None] = {}
        opened = 0

        async def open_one() -> None:
            nonlocal opened
            line = await self._prove_nothing(lambda line: held.pop(line, None))
            held[line] = None
            opened += 1
            if len(held) > self._options.flood:
                oldest = next(iter(held))
                held.pop(oldest)
                oldest.close()

        def until_all() -> Iterator[Callable[[], Awaitable[None]]]:
            while len(held) < self._options.flood and sum(self._failed.values()) < self._options.flood:
                yield open_one

        over = asyncio.ensure_future(input_ended())

        def until_over() -> Iterator[Callable[[], Awaitable[None]]]:
            while not over.done():
                yield open_one

        await self._each(until_all(), rate=0)
        print(json.dumps({"held": len(held), "failed": self._failed}), flush=True)
        opened = 0
        began = time.monotonic()
        if self._options.rate:
            await self._each(until_over())
        await over
        taken = time.monotonic() - began
        still = len(held)
        for line in list(held):
            line.close()
        return {"held": still, "opened": opened, "seconds": round(taken, 3), "failed": self._failed}

    async def _prove_nothing(self, over: Callable[[Connection], None]) -> Connection:
        line = Connection(next(self._mediators))
        line.on_end = lambda _why: over(line)
        await line.open(encrypt=self._options.kind != "silent")
        line.watch()
        line.write(KINDS[self._options.kind])
        return line

    async def _churn(self) -> dict[str, Any]:
        """Peers that go away in every way at every step, once each at least."""
        done: Counter[str] = Counter()
        until = time.monotonic() + self._options.churn
        ways = itertools.cycle(itertools.product(STEPS, WAYS))

        async def come_and_go() -> None:
            step, way = next(ways)
            await self._come_and_go(step, way)
            done[f"{step}, {way}"] += 1

        def more() -> Iterator[Callable[[], Awaitable[None]]]:
            yield from itertools.repeat(come_and_go, len(STEPS) * len(WAYS))
            while time.monotonic() < until:
                yield come_and_go

        await self._each(more())
        return {"gone": sum(done.values()), "by_way": done, "failed": self._failed}

    async def _come_and_go(self, step: str, way: str) -> None:
        peer, other = self._peer(), self._peer()
        try:
            await peer.connect()
            if step != "connected":
                peer.hello()
            if step in ("challenged", "waiting", "matched"):
                challenge = (await peer.receive("challenge")).challenge
                if step != "challenged":
                    peer.prove(challenge)
                    await peer.receive("welcome")
                    peer.advertise(other.key.id, OFFER)
            if step == "matched":
                await self._enter(other)
                other.advertise(peer.key.id, OFFER)
                await peer.receive("match")
                await other.receive("match")
            if way == "cancelled":
                peer.cancel()
            elif way == "half-closed":
                await peer.finish()
            peer.close(abruptly=way == "reset")
            if step == "matched":
                await other.receive("leave")
        finally:
            peer.close()
            other.close()

    async def _each(self, work: Iterator[Callable[[], Awaitable[None]]] | Any, rate: float | None = None) -> None:
        """Do all of it: so many at a time, or so many a second."""
        rate = self._options.rate if rate is None else rate
        if rate:
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number, do in enumerate(work):
                    group.create_task(self._once(do))
                    await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
            return
        iterator = iter(work)

        async def one_after_another() -> None:
            for do in iterator:
                await self._once(do)

        await asyncio.gather(*(one_after_another() for _ in range(self._options.concurrency)))

    async def _once(self, do: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(STEP_TIME):
                await do()
        except Ended as error:
            self._failed[str(error)] += 1
        except TimeoutError:
            self._failed["timeout"] += 1


STEPS = ("connected", "greeted", "challenged", "waiting", "matched")
WAYS = ("cancelled", "half-closed", "closed", "reset")


def check(matches: Sequence[pb.Match], keys: Sequence[SwarmKey]) -> None:
    """Raise `Ended` unless these are the matches of the second and the first peer."""
    theirs, ours = matches
    roles = {theirs.role, ours.role}
    if [theirs.peer, ours.peer] != [keys[0].id, keys[1].id] or roles != {pb.INITIATOR, pb.RESPONDER}:
        raise Ended("a match with somebody else")
    if theirs.offer != OFFER or ours.offer != OFFER:
        raise Ended("a match with another offer")


async def input_ended() -> None:
    """Wait until standard input has ended."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    with suppress(ConnectionError):
        while await reader.read(1024):
            pass
    transport.close()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `need` of the result is how many keys are needed."""
    parser = argparse.ArgumentParser(prog="swarm.py", description="Many peers in one process.")
    parser.add_argument("--target", metavar="HOST:PORT", type=_target, action="append", default=[])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--pairs", metavar="N", type=positive, default=0, help="let so many pairs meet")
    what.add_argument("--waiting", metavar="N", type=positive, default=0, help="let so many peers wait")
    what.add_argument(
        "--flood", metavar="N", type=positive, default=0, help="hold so many connections, and prove nothing"
    )
    what.add_argument("--churn", metavar="S", type=positive, default=0, help="come and go for so many seconds")
    parser.add_argument("--kind", choices=KINDS, default="idle", help="of the flood: how far it gets (idle)")
    parser.add_argument("--concurrency", metavar="N", type=positive, default=32, help="pairs or peers at a time (32)")
    parser.add_argument("--rate", metavar="N", type=positive, default=0, help="so many a second instead")
    parser.add_argument("--seconds", metavar="S", type=positive, default=0, help="begin no more pairs after this")
    parser.add_argument("--on-go", action="store_true", help="say that the keys are there, and wait for a line")
    parser.add_argument("--fetch-first", action="store_true", help="connect once before, as p2p-peer does")
    parser.add_argument("--insecure", action="store_true", help="without TLS")
    parser.add_argument("--bits", type=int, default=2048, help="of the keys that are made (2048)")
    parser.add_argument("--keys", metavar="FILE", type=Path, help="take the keys of this file instead")
    parser.add_argument("--save-keys", metavar="FILE", type=Path, help="keep them in a file")
    parser.add_argument("--first-key", metavar="N", type=int, default=0, help="where to begin among the keys (0)")
    parser.add_argument(
        "--need", metavar="N", type=positive, default=0, help="how many keys (2 for each pair, at most 4000)"
    )
    parser.add_argument("--authorize", metavar="DIR", type=Path, help="file the public keys there, and end")
    parser.add_argument("--core", metavar="N", type=int, help="run on this processor only")
    parser.add_argument("--nice", metavar="N", type=int, default=0, help="be that much nicer than others (0)")
    options = parser.parse_args(arguments)
    if options.target and not (options.pairs or options.waiting or options.flood or options.churn):
        parser.error("say what to do: --pairs, --waiting, --flood or --churn")
    options.need = options.need or options.waiting or min(2 * options.pairs, 4000) or 1000
    return options


def _target(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    sys.exit(main())
