import re

from p2p_core import errors
from p2p_core.errors import PunchwireError

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        if match := re.fullmatch(r"    ([│├└─ ]*)([A-Z][A-Za-z]+)( .*)?", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            if depth:
                parents[match[2]] = path[depth - 1]
    assert parents == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES if cls is not PunchwireError}


def test_every_error_has_its_own_code_and_sentence() -> None:
    codes = {cls.code for cls in CLASSES}
    assert len(codes) == len(CLASSES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert all(cls.__doc__ for cls in CLASSES)


def test_every_error_says_what_to_do() -> None:
    """But for what nobody raises, and for the user's own wish."""
    without = {cls for cls in CLASSES if not cls.advice}
    assert without == {PunchwireError, errors.Interrupted}
    assert all(re.fullmatch(r"[A-Z].*\w|[A-Z].*\.", cls.advice) for cls in CLASSES if cls not in without)


def test_whoever_raises_it_may_know_better() -> None:
    assert errors.NoPath("why").advice == errors.NoPath.advice
    assert errors.NoPath("why", advice="Do this.").advice == "Do this."
    assert str(errors.NoPath("why", advice="Do this.")) == "why"


def test_who_broke_the_protocol() -> None:
    said = errors.Malformed("a frame of nothing", advice="Update.").by("the other side")
    assert type(said) is errors.Malformed
    assert (str(said), said.advice) == ("the other side broke the protocol: a frame of nothing", "Update.")
