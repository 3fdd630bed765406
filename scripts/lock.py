"""The locks in requirements/: exact versions and hashes, for every platform and every Python we run on.

    python scripts/lock.py             write them; versions that still answer pyproject.toml stay as they are
    python scripts/lock.py --upgrade   write them with the newest versions
    python scripts/lock.py --check     do they answer pyproject.toml as it is now? No network, no change

Each lock begins with the requirements it was made for, so that a reader and ``--check`` see what it answers.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
# Resolves for all platforms at once, which pip cannot. It lives in a throwaway environment.
RESOLVER = "uv==0.13.8"
OLDEST_PYTHON = "3.11"

# A lock keeps to the versions of the ones named here: an environment may be filled from several of them.
KEEPS_TO = {
    "runtime": (),
    "build": ("runtime",),
    "dev": ("runtime", "build"),
    "fuzz": ("dev",),
    "mutants": ("dev",),
    "proto": (),
    "wormhole": (),
}


def requirements() -> dict[str, list[str]]:
    """What each lock has to answer, by its name: the requirements as pyproject.toml has them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    runtime = project["project"]["dependencies"]
    build = project["build-system"]["requires"]
    groups = project["dependency-groups"]
    dev = runtime + build + groups["dev"]
    return {
        "runtime": runtime,
        "build": build,
        "dev": dev,
        "fuzz": runtime + groups["fuzz"],
        "mutants": runtime + groups["mutants"],
        "proto": groups["proto"],
        "wormhole": groups["wormhole"],
    }


def header(wanted: list[str]) -> str:
    """The first lines of a lock that answers `wanted`."""
    asked = "".join(f"#   {one}\n" for one in sorted(set(wanted)))
    return f"# Made by `make lock` from pyproject.toml, which asks for:\n{asked}\n"


def write(*, upgrade: bool) -> None:
    """Write every lock."""
    with tempfile.TemporaryDirectory() as name:
        workshop = Path(name)
        venv.create(workshop / "venv", with_pip=True)
        commands = workshop / "venv" / "bin"
        python, resolver = str(commands / "python"), str(commands / "uv")
        subprocess.run([python, "-m", "pip", "--quiet", "install", RESOLVER], check=True)
        for lock, wanted in requirements().items():
            asked, answer = workshop / f"{lock}.in", workshop / f"{lock}.txt"
            asked.write_text("\n".join(wanted))
            if (FOLDER / answer.name).exists() and not upgrade:
                shutil.copy(FOLDER / answer.name, answer)  # versions found in the output file are kept
            command = [resolver, "pip", "compile", "--quiet", str(asked), "--output-file", str(answer)]
            command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"]
            command += ["--no-header", "--no-annotate"]
            for other in KEEPS_TO[lock]:
                command += ["--constraints", str(workshop / f"{other}.txt")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=workshop)
            (FOLDER / answer.name).write_text(header(wanted) + answer.read_text())


def versions(lock: str) -> dict[str, set[str]]:
    """The versions a lock names, by package; more than one where platforms differ."""
    found: dict[str, set[str]] = {}
    text = (FOLDER / f"{lock}.txt").read_text()
    for package, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def complaints() -> list[str]:
    """What is wrong with the locks, a sentence each."""
    wrong = []
    for lock, wanted in requirements().items():
        path = FOLDER / f"{lock}.txt"
        name = path.relative_to(ROOT)
        if not path.exists():
            wrong.append(f"{name} is missing.")
            continue
        text = path.read_text()
        if not text.startswith(header(wanted)):
            wrong.append(f"{name} was made for other requirements than pyproject.toml has now.")
        if "://" in text or re.search(r"^--", text, re.MULTILINE):
            wrong.append(f"{name} names a place to download from; locks name only versions and hashes.")
        pinned = versions(lock)
        for other in KEEPS_TO[lock]:
            for package, theirs in versions(other).items():
                if pinned.get(package, theirs) != theirs:
                    wrong.append(f"{name} has another version of {package} than requirements/{other}.txt.")
    return wrong


def main() -> int:
    """Do what the arguments say; 0 if the locks are as they should be."""
    parser = argparse.ArgumentParser(description="Write or check the locks in requirements/.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--upgrade", action="store_true", help="take the newest versions")
    what.add_argument("--check", action="store_true", help="write nothing; fail if a lock is not up to date")
    arguments = parser.parse_args()
    if not arguments.check:
        FOLDER.mkdir(exist_ok=True)
        write(upgrade=arguments.upgrade)
    wrong = complaints()
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if wrong:
        print("Run `make lock`.", file=sys.stderr)
        return 1
    print("The locks answer pyproject.toml.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
