"""Completion for fish 3.0 and newer."""

from programs import FILE, FOLDER, HOST, Command, Option, Program

__all__ = ["fish"]


def fish(program: Program) -> str:
    """Return the file for share/fish/vendor_completions.d."""
    everything = (program.main, *program.commands)
    at = f"__{program.name.replace('-', '_')}_at"
    options = [option for command in everything for option in command.options if option.metavar]
    with_values = sorted({name for option in options for name in option.names})
    several = sorted({name for option in options if option.several for name in option.names})
    commands = " ".join(command.name for command in program.commands)
    lines = [line for command in everything for line in _command(command, program, at)]
    return f"""\
# Completion of {program.name} for fish, made by `make share`.

# Whether what has been typed so far matches: the command, a colon, and how many arguments it has.
function {at}
    set -l command ''
    set -l count 0
    set -l takes_value 0
    for word in (commandline -opc)[2..-1]
        if test $takes_value != 0; and not string match -q -- '-*' $word
            test $takes_value = 1; and set takes_value 0
            continue
        end
        set takes_value 0
        if contains -- $word {" ".join(several)}
            set takes_value 2
        else if contains -- $word {" ".join(with_values)}
            set takes_value 1
        else if string match -q -- '-*' $word
            continue
        else if test "$command$count" = 0; and contains -- $word {commands}
            set command $word
        else
            set count (math $count + 1)
        end
    end
    test $takes_value = 2; and set count several
    string match -q -- $argv[1] $command:$count
end

complete -c {program.name} -e
complete -c {program.name} -f
{chr(10).join(lines)}
"""


def _command(command: Command, program: Program, at: str) -> list[str]:
    begin = f"complete -c {program.name} -n \"{at} '{command.name}:"
    lines = [f"{begin}*'\" {_option(option)}" for option in command.options]
    lines += [f"{begin}several'\" {_argument(option.kind)}" for option in command.options if option.several]
    if not command.name:
        lines += [f"{begin}0'\" -a {other.name} -d {_quoted(other.description)}" for other in program.commands]
    lines += [
        f"{begin}{'*' if place.repeats else number}'\" {_argument(place.kind)}"
        for number, place in enumerate(command.places)
        if place.kind
    ]
    return lines


def _option(option: Option) -> str:
    parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    if option.metavar:
        parts += ["-r -F"] if option.kind == FILE else ["-x", _argument(option.kind)]
    return " ".join(part for part in (*parts, f"-d {_quoted(option.help)}") if part)


def _argument(kind: str) -> str:
    special = {"": "", FILE: "-F", FOLDER: "-a '(__fish_complete_directories)'", HOST: "-a '(__fish_print_hostnames)'"}
    return special.get(kind, f"-a '{kind}'")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
