"""The one owner of the question under which name a received file may be written.

A received name is a suggestion from somebody else. What comes out of `safe_name` is one path component that
cannot leave its folder, hide itself or what it is, or address a device, on any of the systems Punchwire runs on.
Harmless oddities are mended; a name that means to go elsewhere is refused. As browsers do it: leading dots go, so that
nothing becomes a `.bash_profile` or hides, and a leading dash stays, as it harms only who hands names to a shell.
Inside a folder that is received leading dots stay: there they belong to what is in it, as in `.gitignore`. Only what is
named like our own folders for what is under way is named otherwise: nobody may send us one.
"""

import re
import unicodedata

from p2p_core.errors import UnsafeName
from p2p_core.printable import is_control, printable

__all__ = ["MAX_COMPONENT_BYTES", "STAGING_PREFIX", "safe_name", "with_number"]

MAX_COMPONENT_BYTES = 255  # what every common file system takes
STAGING_PREFIX = ".punchwire-"  # of the folders in which files are that have not come whole
_ROOM_FOR_NUMBER = 32  # bytes kept free for what a number adds
_PLAIN = re.compile(r"[\w~-](?:[\w. ~-]*[\w~-])?", re.ASCII)  # nothing to mend but a device's name: most names
_DRIVE = re.compile(r"^[A-Za-z]:")
# Names that Windows takes for devices, with any extension (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)
_FORBIDDEN = frozenset('<>:"|?*')  # on Windows
_JOINERS = "\u200c\u200d"  # the characters left in a name that HFS+ does not see (CVE-2014-9390)
_BLANK = " " + _JOINERS
_LONGEST = MAX_COMPONENT_BYTES - _ROOM_FOR_NUMBER


def safe_name(name: str, *, inside: bool = False) -> str:
    """Return the name to write a received file under: one component, at most 223 bytes of UTF-8.

    `inside`: it is in a folder that is received with it. Raises `UnsafeName` for a name that is empty, a path, or a
    step to another folder.
    """
    if len(name) <= _LONGEST and _PLAIN.fullmatch(name) and not _DEVICE.match(name):
        return name
    if "/" in name or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise UnsafeName(f"the other side gave the file a name that is a path: {printable(name)}")
    mended = "".join(_mend(character) for character in unicodedata.normalize("NFC", name))
    bare = mended.rstrip(" .").lstrip(_BLANK if inside else _BLANK + ".")
    short = _shorten(bare)  # before the next checks: cutting a long name can leave a device's
    if not short:
        raise UnsafeName(f"the other side gave the file a name that is none: {printable(name)!r}")
    return _shorten("_" + short) if _DEVICE.match(short) or _is_ours(short) else short


def with_number(name: str, number: int) -> str:
    """Return `name` with " (number)" before its extension, for when it is taken."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem} ({number}).{extension}" if dot and stem else f"{name} ({number})"


def _mend(character: str) -> str:
    return "_" if character in _FORBIDDEN or is_control(character) else character


def _is_ours(name: str) -> bool:
    """Whether some file system takes `name` for that of a folder of ours."""
    seen = "".join(character for character in name if character not in _JOINERS)
    return unicodedata.normalize("NFKC", seen).casefold().startswith(STAGING_PREFIX)


def _shorten(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= 16 else ""
    head = (stem if tail else name).encode()[: _LONGEST - len(tail.encode())].decode(errors="ignore")
    return head.rstrip(" .") + tail
