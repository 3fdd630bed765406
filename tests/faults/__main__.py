"""The fault campaign: many runs side by side, or those of --seed, whose timelines are told.

Prints a line for each run, and a table of the kinds of fault. Of a run that failed the timeline is printed, and all
that it has left is kept. Exit code 1 if any failed, 2 where none can be tried.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from p2p_core.identity import PeerId, load_public_key

from tests.faults import isolation
from tests.faults.deadlines import longest
from tests.faults.judging import judge
from tests.faults.leftovers import adopt_orphans
from tests.faults.playing import Play
from tests.faults.scenario import choose
from tests.faults.table import table
from tests.faults.world import World
from tests.programs import Keys

__all__ = ["main"]

GRACE: Final = 120.0  # s: to build a lab, and to look for what is left


def main() -> int:
    """Run what the command line says."""
    options = _options()
    if reason := isolation.unavailable():
        print(f"no faults can be tried here: {reason}", file=sys.stderr)
        return 2
    if options.inside:
        return _play(options)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="punchwire-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("alice", "bob"):
        if not (folder / "keys" / name).exists():
            Keys.make(folder / "keys" / name)
    seeds = options.seed or list(range(options.first, options.first + options.runs))
    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [pool.submit(_run, seed, folder, options) for seed in seeds]
        for number, one in enumerate(as_completed(waiting), 1):
            result = one.result()
            results.append(result)
            _tell(result, f"{number}/{len(seeds)}", is_whole=bool(options.seed))
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    failed = [result for result in results if result["wrong"]]
    print(f"\n{table(results)}")
    print(f"{len(results) - len(failed)} of {len(results)} runs were as promised; all that was seen is in {folder}")
    for result in failed:
        print(f"  make faults ARGS='--seed {result['seed']}'")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", help="run these, and tell their timelines")
    parser.add_argument("--runs", type=int, default=220, help="how many (220)")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first one (1)")
    parser.add_argument("--jobs", type=int, default=8, help="how many at once (8)")
    parser.add_argument("--scale", type=float, default=1.0, help="what lasts, lasts so many times as long (1)")
    parser.add_argument("--folder", type=Path, help="where results and what failed are kept (a new one)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Do one run in namespaces and a process of its own; return its result."""
    scenario = choose(seed, options.scale)
    own = folder / f"{seed}"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    argv = ["-m", "tests.faults", "--inside", "--seed", f"{seed}", "--scale", f"{options.scale}", "--folder", folder]
    began = time.monotonic()
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(
            isolation.isolated(list(map(str, argv))),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            process.wait(longest(scenario) + GRACE)
            problem = "" if process.returncode == 0 else f"the run itself ended with exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            problem = "the run itself did not end"
        finally:  # whatever is left of it, in the group that is its own
            _end_group(process.pid)
            process.wait()
    if (own / "result.json").exists() and not problem:
        result: dict[str, Any] = json.loads((own / "result.json").read_text())
    else:
        tail = (own / "log").read_text(errors="replace").splitlines()[-15:]
        result = {"faults": [], "happened": [], "wrong": [problem or "no result", *tail], "ended": "?", "slowest": 0.0}
    result |= {"seed": seed, "scenario": str(scenario), "seconds": time.monotonic() - began}
    if not result["wrong"]:
        shutil.rmtree(own, ignore_errors=True)
    return result


def _end_group(group: int) -> None:
    """End a group of processes, if anything is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _play(options: argparse.Namespace) -> int:
    """Be one run, in its namespaces."""
    adopt_orphans()
    [seed] = options.seed
    scenario = choose(seed, options.scale)
    own = options.folder / f"{seed}"
    keys = []
    for name in ("alice", "bob"):
        shutil.copytree(options.folder / "keys" / name, own / name)
        keys.append(_keys_in(own / name))
    print(scenario, *scenario.faults, sep="\n    ", flush=True)
    with World(scenario, keys, own) as world:
        play = Play(world, lambda line: print(line, flush=True))
        seen = play.play()
    wrong = judge(seen)
    result = {
        "faults": [str(fault) for fault in scenario.faults],
        "happened": [fault.kind.value for fault in play.happened],
        "wrong": wrong,
        "ended": " ".join(f"{one.name}:{one.code}" for one in (*seen.processes, *seen.mended)),
        "mended": bool(seen.mended),
        "slowest": play.slowest,
        "seen": asdict(seen),
    }
    (own / "result.json").write_text(json.dumps(result, indent=1))
    return 0


def _keys_in(folder: Path) -> Keys:
    return Keys(folder, PeerId.of(load_public_key((folder / "public.pem").read_bytes())))


def _tell(result: dict[str, Any], count: str, *, is_whole: bool) -> None:
    how = "WRONG" if result["wrong"] else "well"
    print(f"{count:>8} {how:5} {result['seconds']:6.1f} s  {result['scenario']}; {result['ended']}", flush=True)
    if not result["wrong"] and not is_whole:
        return
    for line in (*result["faults"], *result.get("seen", {}).get("timeline", ()), *result["wrong"]):
        print(f"             {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
