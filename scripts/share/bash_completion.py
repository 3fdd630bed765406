"""Completion for bash 3.2 and newer, with or without the bash-completion package."""

from programs import FILE, FOLDER, HOST, Command, Program

__all__ = ["bash"]

ANYTHING = "-"  # a value of which nothing is known


def bash(program: Program) -> str:
    """Return the file for share/bash-completion/completions."""
    everything = (program.main, *program.commands)
    name = f"_{program.name.replace('-', '_')}"
    cases = "\n".join(_values(command) for command in everything)
    places = "\n".join(line for command in everything for line in _places(command, program))
    options = "\n".join(
        f"            {command.name or chr(39) * 2}) kind='{' '.join(_names(command))}' ;;" for command in everything
    )
    commands = "|".join(f":0:{command.name}" for command in program.commands)
    return f"""\
# Completion of {program.name} for bash, made by `make share`.

{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command='' count=0 kind='' several='' typed i
    # What has been typed so far: the command, how many arguments it has, and what the flag before the word takes.
    for ((i = 1; i < COMP_CWORD; i++)); do
        typed=${{COMP_WORDS[i]}}
        [[ $typed == = ]] && continue # bash splits --flag=value into three words
        if [[ -n $kind && $typed != -* ]]; then
            [[ -n $several ]] || kind=
            continue
        fi
        kind=
        several=
        case $command:$count:$typed in
            {commands}) command=$typed ;;
{cases}
            *:-*) ;;
            *) count=$((count + 1)) ;;
        esac
    done
    if [[ $word == = ]]; then
        word=
    elif [[ $word == -* ]]; then
        case $command in
{options}
        esac
    elif [[ -z $kind ]]; then
        case $command:$count in
{places}
        esac
    fi
    COMPREPLY=()
    while IFS= read -r typed; do
        COMPREPLY+=("$typed")
    done < <(
        case $kind in
            {ANYTHING}) ;;
            {FILE}) compgen -f -- "$word" ;;
            {FOLDER}) compgen -d -- "$word" ;;
            {HOST}) compgen -A hostname -- "$word" ;;
            {HOST}\\ *) compgen -A hostname -W "${{kind#* }}" -- "$word" ;;
            *) compgen -W "$kind" -- "$word" ;;
        esac
    )
    case $kind in
        {FILE} | {FOLDER}) compopt -o filenames 2>/dev/null ;; # a slash behind folders, quotes where needed
    esac
}}
complete -F {name} {program.name}
"""


def _names(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


def _values(command: Command) -> str:
    """Flags that take a value: what it is."""
    by_kind: dict[tuple[str, bool], list[str]] = {}
    for option in command.options:
        if option.metavar:
            by_kind.setdefault((option.kind or ANYTHING, option.several), []).extend(option.names)
    return "\n".join(
        f"            {' | '.join(f'{command.name}:*:{name}' for name in names)}) kind='{kind}'"
        + " several=yes" * several
        + " ;;"
        for (kind, several), names in by_kind.items()
    )


def _places(command: Command, program: Program) -> list[str]:
    kinds = [place.kind for place in command.places]
    if not command.name:
        names = " ".join(other.name for other in program.commands)
        kinds = [f"{kinds[0]} {names}" if kinds else names, *kinds[1:]]
    repeats = bool(command.places) and command.places[-1].repeats
    found = [f"            {command.name}:{number}) kind='{kind}' ;;" for number, kind in enumerate(kinds) if kind]
    return [line.replace(":0)", ":*)") for line in found] if repeats else found
