"""Makes share/: completions for bash, zsh and fish, and man pages, from the parsers that the programs use themselves.

What is in share/doc is written by hand, and left alone.

python scripts/share           writes it
python scripts/share --check   writes nothing; fails if what is there is not what would be written
"""

import argparse
import sys
from pathlib import Path

from bash_completion import bash
from fish_completion import fish
from man_page import man_page
from programs import programs
from zsh_completion import zsh

ROOT = Path(__file__).resolve().parents[2]
BY_HAND = ROOT / "share" / "doc"


def files() -> dict[Path, str]:
    """Return what belongs into each file of share/."""
    share = ROOT / "share"
    made: dict[Path, str] = {}
    for program in programs():
        made[share / "bash-completion" / "completions" / program.name] = bash(program)
        made[share / "zsh" / "site-functions" / f"_{program.name}"] = zsh(program)
        made[share / "fish" / "vendor_completions.d" / f"{program.name}.fish"] = fish(program)
        made[share / "man" / "man1" / f"{program.name}.1"] = man_page(program)
    return made


def main() -> int:
    """Do what the arguments say; 0 if share/ is as it should be."""
    parser = argparse.ArgumentParser(description="Write or check share/: completions and man pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    check = parser.parse_args().check
    made = files()
    wrong = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    there = [path for path in (ROOT / "share").rglob("*") if path.is_file() and BY_HAND not in path.parents]
    wrong += [path for path in there if path not in made]
    for path in wrong:
        if check:
            print(f"{path.relative_to(ROOT)} is not what the parsers make.", file=sys.stderr)
        elif path in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path])
        else:
            path.unlink()
    if check and wrong:
        print("Run `make share`.", file=sys.stderr)
        return 1
    print("share/ is what the parsers make.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
