"""The one owner of the question under which name a received file may be written.

A received name is a suggestion from somebody else. What comes out of `safe_name` is one path component that
cannot leave its folder, hide itself or what it is, or address a device, on any of the systems Punchwire runs on.
Harmless oddities are mended; a name that means to go elsewhere is refused. As browsers do it: leading dots go, so that
nothing becomes a `.bash_profile` or hides, and a leading dash stays, as it harms only who hands names to a shell.
"""

import re
import unicodedata

from p2p_core.errors import UnsafeName
from p2p_core.printable import is_control, printable

__all__ = ["MAX_COMPONENT_BYTES", "safe_name", "with_number"]

MAX_COMPONENT_BYTES = 255  # what every common file system takes
_ROOM_FOR_PART = 32  # bytes kept free for what a temporary name or a number adds
_DRIVE = re.compile(r"^[A-Za-z]:")
# Names that Windows takes for devices, with any extension (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)
_FORBIDDEN = frozenset('<>:"|?*')  # on Windows


def safe_name(name: str) -> str:
    """Return the name to write a received file under: one component, at most 223 bytes of UTF-8.

    Raises `UnsafeName` for a name that is empty, a path, or a step to another folder.
    """
    if "/" in name or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise UnsafeName(f"the other side gave the file a name that is a path: {printable(name)}")
    mended = "".join(_mend(character) for character in unicodedata.normalize("NFC", name)).strip(" .")
    short = _shorten(mended)  # before the next two checks: cutting a long name can leave a device's
    if not short:
        raise UnsafeName(f"the other side gave the file a name that is none: {printable(name)!r}")
    return _shorten("_" + short) if _DEVICE.match(short) else short


def with_number(name: str, number: int) -> str:
    """Return `name` with " (number)" before its extension, for when it is taken."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem} ({number}).{extension}" if dot and stem else f"{name} ({number})"


def _mend(character: str) -> str:
    return "_" if character in _FORBIDDEN or is_control(character) else character


def _shorten(name: str) -> str:
    limit = MAX_COMPONENT_BYTES - _ROOM_FOR_PART
    if len(name.encode()) <= limit:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= 16 else ""
    head = (stem if tail else name).encode()[: limit - len(tail.encode())].decode(errors="ignore")
    return head.rstrip(" .") + tail
