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
