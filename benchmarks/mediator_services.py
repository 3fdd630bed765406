"""What `benchmarks/mediator.py` measures, as real processes: mediators, alone and in pairs, and the mailbox server."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from p2p_server import tls

from benchmarks import wormhole
from benchmarks.processes import cpu_seconds, open_files, pinned, resident, tree
from tests.balancer import Balancer
from tests.programs import PATIENCE, Mediator, ProgramFailed, Programs, end, p2p_server, start_here

__all__ = ["LOOPBACK", "Service", "Services"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Service:
    """Where peers meet."""

    targets: tuple[int, ...]  # ports that peers dial, in turn
    servers: tuple[int, ...]  # processes that are measured
    beside: dict[str, int] = field(default_factory=dict)  # others that it needs, by name, measured by themselves
    metrics: int = 0  # port, 0: none
    redis: int = 0  # likewise

    def cpu(self) -> float:
        """Return the processor time so far of all its servers."""
        return sum(cpu_seconds(process) for server in self.servers for process in tree(server))

    def cpu_beside(self) -> dict[str, float]:
        """Return that of the others."""
        return {name: cpu_seconds(process) for name, process in self.beside.items()}

    def memory(self) -> int:
        """Return the bytes that all its servers have now."""
        return sum(resident(process) for server in self.servers for process in tree(server))

    def files(self) -> int:
        """Return how many files and sockets they have open."""
        return sum(open_files(process) for server in self.servers for process in tree(server))

    def tasks(self) -> int | None:
        """Return how many asyncio tasks there are, if it tells."""
        if not self.metrics:
            return None
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.metrics}/metrics", timeout=PATIENCE) as answer:
            found = re.search(r"^punchwire_tasks (\S+)$", answer.read().decode(), re.MULTILINE)
        return round(float(found[1])) if found else None

    def redis_figures(self) -> dict[str, int]:
        """Return what Redis has counted so far, and the bytes it holds; nothing where there is none."""
        if not self.redis:
            return {}
        with redis.Redis(LOOPBACK, self.redis) as asking:
            said = asking.info("everything")
        calls = {"commands": said["total_commands_processed"], "scripts": _calls(said, ("evalsha", "eval", "fcall"))}
        return calls | {name: said[name] for name in ("total_net_input_bytes", "total_net_output_bytes", "used_memory")}


class Services:
    """Starts them; they end with `programs`."""

    def __init__(
        self, folder: Path, authorized: Path, programs: Programs, processor: int | None, other: int | None
    ) -> None:
        """Let servers run on `processor` and what they need on `other`; they admit the keys in `authorized`."""
        self._folder = folder
        self._authorized = authorized
        self._programs = programs
        self._processor = processor
        self._other = other
        self._number = 0
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def mediator(self, *flags: str, metrics: bool = False) -> Service:
        """Start one mediator, with its store in the process."""
        port = free_port() if metrics else 0
        instance = self._start_mediator(self._new_folder(), [*flags, *(["--metrics", str(port)] * metrics)])
        return Service((instance.port,), (instance.process.pid,), metrics=port)

    def mediators_on_redis(self, count: int = 1) -> Service:
        """Start a Redis server and one or two mediators on it; two are behind haproxy, if it is installed."""
        server, port = self._start_redis()
        flags = ["--store", f"redis://{LOOPBACK}:{port}/0"]
        balanced = count == 2 and shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is not None
        folder = self._new_folder()  # of all of them: they have one key
        shown = [free_port() for _ in range(count)]
        flags += ["--behind-proxy"] * balanced
        instances = [self._start_mediator(folder, [*flags, "--metrics", str(port)]) for port in shown]
        beside = {"Redis": server.pid}
        targets = tuple(instance.port for instance in instances)
        if balanced:
            with pinned(self._other):
                # All peers of the swarm come from one address.
                ports = [each.port for each in instances]
                balancer = Balancer.start(folder, ports, shown, PUNCHWIRE_PER_ADDRESS="1000000")
            self._watch(balancer.process)
            beside["haproxy"] = balancer.process.pid
            targets = (balancer.port,)
        return Service(targets, tuple(instance.process.pid for instance in instances), beside, redis=port)

    def mailbox(self, *, encrypt: bool) -> Service:
        """Start magic-wormhole's mailbox server, behind TLS as mediators have it or not. It proves no keys."""
        folder = self._new_folder()
        endpoint = "tcp:0"
        if encrypt:
            tls.load_or_create(folder, datetime.now(UTC))  # ECDSA P-256
            endpoint = f"ssl:0:privateKey={folder / tls.KEY_FILE}:certKey={folder / tls.CERTIFICATE_FILE}"
        with pinned(self._processor):
            process, port = wormhole.start_mailbox(folder, self._programs, endpoint)
        self._processes[process.pid] = process
        return Service((port,), (process.pid,))

    def end(self, service: Service) -> None:
        """End a service before the others."""
        for number in (*service.beside.values(), *service.servers):
            end(self._processes[number])

    def _start_mediator(self, folder: Path, flags: Sequence[str]) -> Mediator:
        # Without STUN all files that may be open are there for peers.
        where = ("--host", LOOPBACK, "--port", "0", "--no-stun", "--state-dir", folder)
        argv = p2p_server(*where, "--authorized", self._authorized, "--log-format", "json", *flags)
        with (folder / "log").open("a") as log:
            process = self._start(argv, self._processor, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ProgramFailed(f"the mediator did not start: {(folder / 'log').read_text()}")
        ready = json.loads(line)
        return Mediator(process, LOOPBACK, ready["port"], 0, ready["mediator_id"])

    def _start_redis(self) -> tuple["subprocess.Popen[str]", int]:
        port = free_port()
        nothing_kept = ["--save", "", "--appendonly", "no"]
        argv = ["redis-server", "--bind", LOOPBACK, "--port", str(port), *nothing_kept, "--maxclients", "1000"]
        process = self._start(argv, self._other, stdout=subprocess.DEVNULL, cwd=self._new_folder())
        return process, self._listens(process, port)

    def _start(self, argv: Sequence[str], processor: int | None, **options: Any) -> "subprocess.Popen[str]":
        with pinned(processor):
            process = start_here(argv, stdin=subprocess.DEVNULL, **options)
        self._watch(process)
        return process

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        self._processes[process.pid] = process
        self._programs.callback(end, process)

    def _listens(self, process: "subprocess.Popen[str]", port: int) -> int:
        """Wait until it does; return the port."""
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection((LOOPBACK, port)).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return port
        raise ProgramFailed(f"nobody listens on port {port}: exit code {process.poll()}")

    def _new_folder(self) -> Path:
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        return folder


def _calls(said: dict[str, Any], commands: Sequence[str]) -> int:
    return sum(said.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)


def free_port() -> int:
    """Return a TCP port that nobody listens on now, for programs that cannot be told to take any."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
