"""The cases of `benchmarks/mediator.py`: what is done in each, and what of it is kept."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.mediator_load import Load, Matched
from benchmarks.mediator_services import Service, Services
from benchmarks.processor_share import ProcessorShare

__all__ = ["OFFERED", "SERVICES", "Flood", "Minute", "Pairs", "Waiting", "flood", "pairs", "soak", "waiting"]

SETTLING = 1.0  # s for a server to close what its clients left
OFFERED = 100  # pairs a second with and without a flood: a quarter of what a server takes
TOGETHER = 16  # pairs at a time at the mailbox server, which is more than keeps it busy


@dataclass(frozen=True, slots=True)
class Kind:
    """A service that is measured."""

    name: str
    start: Callable[[Services], Service]
    flags: tuple[str, ...] = ()  # of its swarms
    tls: bool = True
    mailbox: bool = False  # it is magic-wormhole's server, and has swarms of its own


SERVICES = {
    "memory": Kind("in-process store", lambda services: services.mediator()),
    "leaf": Kind("the same, two connections a peer", lambda services: services.mediator(), ("--fetch-first",)),
    "redis": Kind("Redis store", lambda services: services.mediators_on_redis()),
    "redis-2": Kind("Redis store, two instances", lambda services: services.mediators_on_redis(2)),
    "mailbox-tls": Kind("magic-wormhole's mailbox", lambda services: services.mailbox(encrypt=True), mailbox=True),
    "memory-plain": Kind(
        "in-process store, no TLS", lambda services: services.mediator("--insecure"), ("--insecure",), tls=False
    ),
    "mailbox": Kind(
        "magic-wormhole's mailbox, no TLS", lambda services: services.mailbox(encrypt=False), tls=False, mailbox=True
    ),
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """One service in one round."""

    full: Matched  # as many as it takes
    paced: Matched  # so many a second, for the time from the second advertisement to the match
    redis: dict[str, float]  # for each pair


@dataclass(frozen=True, slots=True)
class Waiting:
    """One service with so many peers that wait."""

    count: int
    server: float  # bytes for each
    redis: float  # likewise, of Redis
    cpu: float  # share of a processor that those who wait take, while nobody comes or meets
    paced: Matched  # others that meet meanwhile
    redis_rates: dict[str, float]  # what Redis did in a second, while nobody came or met


@dataclass(frozen=True, slots=True)
class Flood:
    """Matching without and with a flood, one right after the other."""

    quiet: Matched  # as many as the server takes, with its share of a processor
    flooded: Matched
    paced_quiet: Matched  # so many a second, with all of its processor
    paced_flooded: Matched
    share: float  # of a processor: 1 if it could not be limited
    alone: float  # share of a processor that the flood takes while nobody meets
    held: int  # connections that proved nothing, at the end
    opened: float  # of them a second
    failed: dict[str, int] = field(default_factory=dict)  # of them, by reason


@dataclass(frozen=True, slots=True)
class Minute:
    """A server after so many minutes of peers that come and go."""

    minute: int
    gone: int  # streams so far
    memory: int  # bytes
    files: int
    tasks: int | None
    failed: dict[str, int] = field(default_factory=dict)


def pairs(
    kinds: list[str], services: Services, load: Load, *, rounds: int, seconds: int, rate: int
) -> dict[str, list[Pairs]]:
    """Let pairs meet at each service in turn, `rounds` times, after one round that does not count."""
    running = {kind: SERVICES[kind].start(services) for kind in kinds}
    measured: dict[str, list[Pairs]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, service in running.items():
            before = service.redis_figures()
            chosen = SERVICES[kind]
            if chosen.mailbox:
                full = load.mailbox(service, seconds * 5 * TOGETHER, TOGETHER, encrypt=chosen.tls)
                paced = load.mailbox(service, seconds * TOGETHER, 1, encrypt=chosen.tls)
            else:
                full = load.saturate(service, seconds, *chosen.flags)
                paced = load.paced(service, seconds, rate, *chosen.flags)
            after = service.redis_figures()
            of_each = {name: (after[name] - before[name]) / (full.pairs + paced.pairs) for name in before}
            if number:
                measured[kind].append(Pairs(full, paced, of_each))
    for service in running.values():
        services.end(service)
    return measured


def waiting(
    kinds: list[str], services: Services, load: Load, *, counts: list[int], rounds: int, seconds: int, rate: int
) -> dict[str, list[Waiting]]:
    """Let peers wait at each service in turn, at a server of their own each time."""
    measured: dict[str, list[Waiting]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for count in counts:
            for kind in kinds:
                with fresh(SERVICES[kind].start(services), services) as service:
                    measured[kind].append(_wait(service, load, count, seconds, rate))
    return measured


def _wait(service: Service, load: Load, count: int, seconds: int, rate: int) -> Waiting:
    load.paced(service, 1, rate)  # what it takes once
    time.sleep(SETTLING)
    memory, redis = service.memory(), service.redis_figures()
    with load.waiting(service, count):
        time.sleep(SETTLING)
        cpu, before, began = service.cpu(), service.redis_figures(), time.monotonic()
        time.sleep(seconds)
        idle, after, took = service.cpu() - cpu, service.redis_figures(), time.monotonic() - began
        paced = load.paced(service, seconds, rate)
        return Waiting(
            count=count,
            server=(service.memory() - memory) / count,
            redis=(after["used_memory"] - redis["used_memory"]) / count if redis else 0.0,
            cpu=idle / took,
            paced=paced,
            redis_rates={name: (after[name] - before[name]) / took for name in after if name != "used_memory"},
        )


def flood(
    services: Services, load: Load, *, rounds: int, seconds: int, held: int, rate: int, kind: str, share: float
) -> list[Flood]:
    """Let pairs meet without and with a flood, in turn.

    The flood and the pairs are driven by the same processor, so the server is the limit of their rate only if it has no
    more than a `share` of its own.
    """
    measured = []
    with (
        fresh(SERVICES["memory"].start(services), services) as service,
        ProcessorShare(service.servers[0]) as processor,
    ):
        load.saturate(service, seconds)
        for _ in range(rounds):
            paced_quiet = load.paced(service, seconds, OFFERED)
            with processor.limited(share):
                quiet = load.saturate(service, seconds)
            with load.flooded(service, held, rate, "--kind", kind) as swarm:
                cpu, began = service.cpu(), time.monotonic()
                time.sleep(seconds)
                alone = (service.cpu() - cpu) / (time.monotonic() - began)
                paced_flooded = load.paced(service, seconds, OFFERED)
                with processor.limited(share):
                    flooded = load.saturate(service, seconds)
            measured.append(
                Flood(
                    quiet,
                    flooded,
                    paced_quiet,
                    paced_flooded,
                    share if processor.is_limitable else 1.0,
                    alone,
                    swarm.last["held"],
                    swarm.last["opened"] / swarm.last["seconds"],
                    swarm.last["failed"],
                )
            )
            time.sleep(SETTLING)
    return measured


def soak(services: Services, load: Load, *, minutes: int, seconds: int = 60) -> list[Minute]:
    """Let peers come and go in every way; look at the server after each minute, the first of which is to warm up."""
    measured = []
    gone = 0
    with fresh(services.mediator(metrics=True), services) as service:
        for minute in range(minutes + 1):
            result = load.churn(service, seconds)
            gone += result["gone"]
            time.sleep(SETTLING)
            seen = Minute(minute, gone, service.memory(), service.files(), service.tasks(), result["failed"])
            measured.append(seen)
    return measured


@contextmanager
def fresh(service: Service, services: Services) -> Iterator[Service]:
    """End the service when it has been measured."""
    yield service
    services.end(service)
