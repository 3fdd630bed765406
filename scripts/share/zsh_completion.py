"""Completion for zsh."""

from programs import FILE, FOLDER, HOST, Command, Option, Place, Program

__all__ = ["zsh"]

ENDS = ("-h", "--version")  # nothing makes sense behind these
SEVERAL = 9  # values of one flag: with any number of them, `_arguments` would complete no flag behind them
ACTIONS = {"": " ", FILE: "_files", FOLDER: "_files -/", HOST: "_hosts"}


def zsh(program: Program) -> str:
    """Return the file for share/zsh/site-functions."""
    name = f"_{program.name}"
    described = "\n".join(
        f"                {_quoted(f'{_plain(one.name)}:{one.description}')}" for one in program.commands
    )
    hosts = "            _hosts\n" if program.main.places else ""
    cases = [_case(command.name, [*_options(command), *_places(command.places)]) for command in program.commands]
    if program.main.places:  # the first is done, where no command is
        cases.append(_case("*", ["$options", *_places(program.main.places[1:])]))
    return f"""\
#compdef {program.name}
# Completion of {program.name} for zsh, made by `make share`.

{name}() {{
    local context state state_descr line curcontext="$curcontext"
    typeset -A opt_args
    local -a options=(
{_lines(_options(program.main), 8, "")}
    )
    _arguments -C $options '1: :->first' '*:: :->rest'
    case $state in
        first)
            local -a commands=(
{described}
            )
            _describe -t commands command commands
{hosts}            ;;
        rest)
            curcontext="${{curcontext%:*:*}}:{program.name}-$line[1]:"
            case $line[1] in
{chr(10).join(cases)}
            esac
            ;;
    esac
}}

# Called by the completion system, which found it in $fpath; or read by `source`.
if [[ $funcstack[1] == {name} ]]; then
    {name} "$@"
else
    compdef {name} {program.name}
fi
"""


def _case(pattern: str, specs: list[str]) -> str:
    return f"                {pattern})\n                    _arguments \\\n{_lines(specs, 24)}\n                    ;;"


def _lines(specs: list[str], indent: int, end: str = " \\") -> str:
    return f"{end}\n".join(" " * indent + spec for spec in specs)


def _places(places: tuple[Place, ...]) -> list[str]:
    return [_quoted(_place(number, place)) for number, place in enumerate(places, 1)]


def _place(number: int, place: Place) -> str:
    where = "*" if place.repeats else f"{number}:" if place.optional else str(number)
    return f"{where}:{_plain(place.metavar)}:{_action(place.kind)}"


def _options(command: Command) -> list[str]:
    return [_option(option) for option in command.options]


def _option(option: Option) -> str:
    """As `_arguments` has it: '(what it excludes)'--name='[help]:metavar:action', or '*' for one that repeats."""
    excluded = "(- *)" if option.names[0] in ENDS else f"({' '.join(option.names)})"
    names = [f"{name}=" if option.metavar and name.startswith("--") else name for name in option.names]
    spelled = f"{{{','.join(names)}}}" if len(names) > 1 else names[0]
    value = f":{_plain(option.metavar)}:{_action(option.kind)}" if option.metavar else ""
    value = f":{value}" if option.optional else value + f":{value}" * (SEVERAL - 1) if option.several else value
    return f"{_quoted('*' if option.repeats else excluded)}{spelled}{_quoted(f'[{_plain(option.help)}]{value}')}"


def _action(kind: str) -> str:
    return ACTIONS.get(kind, f"({kind})")


def _plain(text: str) -> str:
    """Escape what means something to `_arguments` and `_describe`."""
    return "".join(f"\\{character}" if character in "\\[]:" else character for character in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
