import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from p2p_core.errors import UnsafeName
from p2p_core.safe_names import MAX_COMPONENT_BYTES, STAGING_PREFIX, safe_name, with_number

DEVICES = ["con", "prn", "aux", "nul", "conin$", "conout$", "com1", "COM9", "lpt0", "LPT¹", "com³"]
# Names made of what has made trouble before, and any others.
PIECES = st.sampled_from(
    [
        *DEVICES,
        ".",
        "..",
        " ",
        "x",
        ".txt",
        ":",
        "~",
        "-",
        "\u202e",
        "\u0301",
        "é",
        "\ud800",
        "\x1b",
        "😀",
        "\u200c",
        STAGING_PREFIX,
        ".PUNCH",
        "wire-",
    ]
)
NAMES = st.text(max_size=300) | st.lists(PIECES, max_size=12).map("".join) | st.lists(PIECES, min_size=100).map("".join)
HOSTILE = [
    "/etc/passwd", "../../.ssh/authorized_keys", "..\\..\\boot.ini", "a/b", "a\\b", "\\\\server\\share", "/",
    "C:\\autoexec.bat", "C:autoexec.bat", "c:", "Z:x", "a\0.txt", "\0",
    "", ".", "..", "...", ". .", " ", " . . ", "." * 300, " ." * 300,
]  # fmt: skip


def is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in "\u200e\u200f\u202e\u2066\ufeff"


def seen(name: str) -> str:
    """What HFS+ takes a name for, which sees neither joiners nor case."""
    return name.replace("\u200c", "").replace("\u200d", "").casefold()


@given(NAMES, st.booleans())
@example("con" + " " * 300 + "x", False)
@example("con." + "x" * 300, True)
@example("con .txt", False)
@example(" " * 300 + ".txt", True)
@example("é" * 300 + ".txt", False)
@example("a." + "é" * 300, True)
@example("x" * 218 + " . .txt", True)
@example("\u212a:x", False)  # KELVIN SIGN, which NFC makes a K
@example("." * 300 + "x", True)
@example("con", True)
def test_whatever_the_name_one_harmless_component_comes_out(name: str, inside: bool) -> None:
    try:
        safe = safe_name(name, inside=inside)
    except UnsafeName:
        return
    assert safe not in ("", ".", "..")
    assert not set(safe) & set('/\\<>:"|?*\0')
    assert not any(map(is_control, safe))
    assert safe == safe.rstrip(" .").lstrip(" " if inside else " .")
    assert not seen(safe).startswith(STAGING_PREFIX)
    assert inside or not seen(safe).startswith(".")
    assert not re.match(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", safe)
    assert len(safe.encode()) <= MAX_COMPONENT_BYTES - 32
    assert safe_name(safe, inside=inside) == safe


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_means_to_go_elsewhere_or_is_none_is_refused(name: str) -> None:
    with pytest.raises(UnsafeName) as caught:
        safe_name(name)
    assert not any(map(is_control, str(caught.value)))


ORDINARY = """
    a.txt archive.tar.gz -rf ~ ü.txt 写真.jpg console.log nullable com10 a..b XéX XX.üX क्‍ष.txt 👩‍👩‍👧.png
""".split()


@pytest.mark.parametrize("name", [*ORDINARY, "read me.md", "x" * 223])
def test_an_ordinary_name_stays(name: str) -> None:
    assert safe_name(name) == safe_name(name, inside=True) == name


@pytest.mark.parametrize("name", [".gitignore", ".ssh", "..a", "...a", ". a", ".punchwire", ".bash_profile"])
def test_inside_a_folder_leading_dots_stay(name: str) -> None:
    assert safe_name(name, inside=True) == name
    assert safe_name(name) == name.lstrip(" .")


@pytest.mark.parametrize(
    "name",
    [
        ".punchwire-0123456789abcdef",
        ".PunchWire-x",
        ".punch\u200cwire-x",
        " .punchwire-",
        "\u200d.punchwire-x",
        "\uff0epunchwire-x",  # FULLWIDTH FULL STOP
    ],
    ids=ascii,
)
def test_nobody_sends_us_a_folder_of_our_own(name: str) -> None:
    assert safe_name(name, inside=True).startswith("_")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("ab:c.txt", "ab_c.txt"),
        ("what?.txt", "what_.txt"),
        ('<>:"|?*', "_______"),
        ("file.txt::$DATA", "file.txt__$DATA"),
        ("name. . .", "name"),
        ("name ", "name"),
        (".bash_profile", "bash_profile"),
        (" . ..ssh", "ssh"),
        (".txt", "txt"),
        (".x.txt.0123abcd.part", "x.txt.0123abcd.part"),  # as our own temporary files are called
        (".nul", "_nul"),
        ("a\nb", "a_b"),
        ("\x1b[2Ja", "_[2Ja"),
        ("photo\u202egnp.exe", "photo_gnp.exe"),
        ("a\udcff.txt", "a_.txt"),
        ("e\u0301.txt", "é.txt"),
        ("\u1112\u1161\u11ab", "\ud55c"),  # all of it letters
        ("nul", "_nul"),
        ("NUL.txt", "_NUL.txt"),
        ("aux.tar.gz", "_aux.tar.gz"),
        ("con .txt", "_con .txt"),
        ("com¹", "_com¹"),
        ("\u200c.ssh", "ssh"),
        ("\u200da", "a"),
        ("x" * 300 + ".txt", "x" * 219 + ".txt"),
        ("x" * 300, "x" * 223),
        (" " * 300 + "x", "x"),
        ("." * 300 + "x" * 20, "x" * 20),
        ("é" * 300 + ".txt", "é" * 109 + ".txt"),
        ("é" * 150, "é" * 111),  # fewer characters than bytes
        ("X" * 300, "X" * 223),
        ("con" + " " * 300 + "x", "_con"),
        ("con." + "x" * 300, "_con." + "x" * 218),
        ("x" * 300 + "." + "y" * 16, "x" * 206 + "." + "y" * 16),
        ("x" * 300 + "." + "y" * 17, "x" * 223),
    ],
    ids=ascii,
)
def test_an_odd_name_is_mended(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_name_that_is_just_short_enough_stays_as_it_is() -> None:
    name = "é" + "x" * 216 + " .txt"
    assert len(name.encode()) == 223
    assert safe_name(name) == name


def test_where_a_name_is_to_stand_is_said_by_name() -> None:
    with pytest.raises(TypeError):
        safe_name(".gitignore", True)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "numbered"),
    [("a.txt", "a (2).txt"), ("a", "a (2)"), (".bashrc", ".bashrc (2)"), ("a.tar.gz", "a.tar (2).gz")],
)
def test_a_taken_name_gets_a_number(name: str, numbered: str) -> None:
    assert with_number(name, 2) == numbered


@given(NAMES, st.integers(1, 10**6))
def test_a_numbered_name_is_safe_too(name: str, number: int) -> None:
    try:
        safe = safe_name(name)
    except UnsafeName:
        return
    numbered = with_number(safe, number)
    assert len(numbered.encode()) <= MAX_COMPONENT_BYTES
    assert numbered.startswith("_") is safe.startswith("_")
    assert with_number(safe, number + 1) != numbered != safe
