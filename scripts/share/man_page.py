"""Man pages, in the man(7) macros that groff and mandoc have in common."""

import textwrap
from collections.abc import Callable

from programs import Command, Option, Place, Program, Text

__all__ = ["man_page"]

DATE = "2026-11-20"  # a page has to have one; it is put forward when there is more to read
WIDTH = 79  # of a line in the file, for those who read that


def man_page(program: Program) -> str:
    """Return the file for share/man/man1."""
    lines = [
        f'.\\" Made by `make share` from what {program.name} --help is made of.',
        f".TH {program.name.upper()} 1 {DATE} Punchwire",
        ".SH NAME",
        f"{_literal(program.name)} \\- {program.summary}",
        ".SH SYNOPSIS",
        *_synopsis(program),
        ".SH DESCRIPTION",
        *_text((program.main.description, *program.manual["DESCRIPTION"])),
        *_places(program.main),
        ".SH OPTIONS",
        *_options(program.main, _heading),
        ".SH COMMANDS",
    ]
    for command in program.commands:
        lines += [f".SS {command.name}", *_prose(command.description), *_places(command)]
        lines += _options(command, _subordinate)
    for title, text in program.manual.items():
        if title != "DESCRIPTION":
            lines += [f".SH {title}", *_text(text)]
    return "\n".join(lines) + "\n"


def _synopsis(program: Program) -> list[str]:
    found = []
    for command in (program.main, *program.commands):
        name = _literal(f"{program.name} {command.name}".strip())
        places = "".join(f" {_place(place)}" for place in command.places)
        found.append(f"\\fB{name}\\fR [\\fIoptions\\fR]{places}")
    return "\n.br\n".join(found).split("\n")


def _place(place: Place) -> str:
    name = f"\\fI{place.metavar}\\fR"
    return f"[{name}]" if place.optional else f"{name} ..." if place.repeats else name


def _places(command: Command) -> list[str]:
    return [line for place in command.places for line in (".TP", f"\\fI{place.metavar}\\fR", *_prose(place.help))]


def _options(command: Command, grouped: Callable[[str, list[str]], list[str]]) -> list[str]:
    found = []
    for title, options in command.groups:
        lines = [line for option in options for line in (".TP", _names(option), *_prose(option.help))]
        found += lines if title == "options" else grouped(title, lines)  # argparse's own group, which comes first
    return found


def _heading(title: str, lines: list[str]) -> list[str]:
    return [f".SS {title}", *lines]


def _subordinate(title: str, lines: list[str]) -> list[str]:
    """Below a heading of the second level: there is no third one."""
    return [".PP", f"\\fI{_escaped(title)}\\fR", ".RS", *lines, ".RE"]


def _names(option: Option) -> str:
    names = ", ".join(f"\\fB{_literal(name)}\\fR" for name in option.names)
    value = f"\\fI{option.metavar}\\fR"
    if option.optional:
        return f"{names} [{value}]"
    if option.several:
        return f"{names} {value} ..."
    return f"{names} {value}" if option.metavar else names


def _text(text: Text) -> list[str]:
    lines: list[str] = []
    for item in text:
        if isinstance(item, tuple):
            lines += [".TP", f"\\fB{_literal(item[0])}\\fR", *_prose(item[1])]
        else:
            lines += [*([".PP"] if lines else []), *_prose(item)]
    return lines


def _prose(text: str) -> list[str]:
    """Sentences; flags and paths in them are typed as they stand."""
    words = (_literal(word) if word.lstrip("([").startswith(("-", "~")) else _escaped(word) for word in text.split())
    return textwrap.wrap(" ".join(words), WIDTH, break_long_words=False, break_on_hyphens=False)


def _literal(text: str) -> str:
    """What is typed as it stands: its hyphens are minus signs, so that it can be copied."""
    return _escaped(text).replace("-", "\\-")


def _escaped(text: str) -> str:
    """Nothing in it is a macro, even where a line begins with it, or is taken for a typographer's sign."""
    text = text.replace("\\", "\\e").replace("~", "\\(ti").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text
