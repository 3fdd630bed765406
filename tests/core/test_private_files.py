import os
import stat
from pathlib import PurePath, PurePosixPath

import pytest
from p2p_core.errors import NotPrivate, UsageError
from p2p_core.private_files import (
    check_above,
    check_not_for_all,
    check_only_owner_writes,
    check_ours,
    check_owner,
    check_secret,
    folders_on_the_way,
)

US, ROOT, ANOTHER = 1000, 0, 1001


def status(mode: int, owner: int = US, *, is_folder: bool = False) -> os.stat_result:
    kind = stat.S_IFDIR if is_folder else stat.S_IFREG
    owner = int(str(owner))  # another object than any other
    return os.stat_result((kind | mode, 1, 1, 1, owner, owner, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644, 0o755, 0o700, 0o000, 0o1755])
@pytest.mark.parametrize("owner", [US, ROOT])
def test_what_nobody_else_may_write_is_ours(mode: int, owner: int) -> None:
    check_ours("file", status(mode, owner), US)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777, 0o020, 0o1777])
@pytest.mark.parametrize("owner", [US, ROOT, ANOTHER])
def test_what_others_may_write_is_not(mode: int, owner: int) -> None:
    for is_folder, advice in ((False, "chmod 600 file"), (True, "chmod go-w file")):
        for check in (check_ours, check_secret):
            if owner != ANOTHER:
                with pytest.raises(NotPrivate, match=r"^other users of this computer can write to file, so") as caught:
                    check("file", status(mode, owner, is_folder=is_folder), US)
                assert caught.value.advice.endswith(advice)
        with pytest.raises(NotPrivate) as caught:
            check_only_owner_writes("file", status(mode, owner, is_folder=is_folder))
        assert caught.value.advice.endswith(advice)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o666])
def test_what_belongs_to_another_is_not(mode: int) -> None:
    for us in (US, ROOT):
        for check in (check_ours, check_secret):
            with pytest.raises(NotPrivate, match=r"^file belongs to another user of this computer, so") as caught:
                check("file", status(mode, ANOTHER), us)
            assert caught.value.advice.endswith(f"chown {us} file")


def test_a_folder_that_only_another_writes() -> None:
    check_only_owner_writes("folder", status(0o755, ANOTHER, is_folder=True))


def test_whose_it_is() -> None:
    for owner in (US, ROOT):
        check_owner("file", status(0o666, owner), US)
    for us in (US, ROOT):
        with pytest.raises(NotPrivate, match=r"^file belongs to another user of this computer, so"):
            check_owner("file", status(0o600, ANOTHER), us)


def test_what_is_for_all_to_write() -> None:
    for mode in (0o644, 0o664, 0o1775):
        check_not_for_all("file", status(mode, ANOTHER))
    for mode in (0o666, 0o602, 0o1777):
        with pytest.raises(NotPrivate, match=r"^everybody on this computer can write to file, so nothing") as caught:
            check_not_for_all("file", status(mode))
        assert caught.value.advice.endswith("chmod o-w file")


@pytest.mark.parametrize("us", [US, ROOT])
def test_a_secret_is_for_one(us: int) -> None:
    for mode in (0o600, 0o400, 0o700, 0o000):
        check_secret("key", status(mode, us), us)
    for mode in (0o640, 0o604, 0o610, 0o601, 0o644):
        with pytest.raises(NotPrivate, match=r"^other users of this computer may be able to read key, which") as caught:
            check_secret("key", status(mode, us), us)
        assert "chmod 600 key." in caught.value.advice


def test_a_secret_of_root_may_be_for_a_group() -> None:
    for mode in (0o600, 0o640, 0o440, 0o400):
        check_secret("key", status(mode, ROOT), US)
    for mode in (0o604, 0o644, 0o601, 0o650, 0o641):
        with pytest.raises(NotPrivate, match="may be able to read key") as caught:
            check_secret("key", status(mode, ROOT), US)
        assert "chmod 640 key." in caught.value.advice


def test_a_folder_above() -> None:
    for mode in (0o755, 0o700, 0o775, 0o1777, 0o1703):
        check_above("key", "folder", status(mode, ANOTHER, is_folder=True))
    for mode in (0o777, 0o702, 0o757):
        with pytest.raises(NotPrivate, match=r"^everybody .* write to folder, .* in the place of key$") as caught:
            check_above("key", "folder", status(mode, is_folder=True))
        assert caught.value.advice.endswith("chmod o-w folder")


def test_it_is_something_that_was_asked_for() -> None:
    assert issubclass(NotPrivate, UsageError)


# The way to it.


@pytest.mark.parametrize(
    ("path", "links", "folders"),
    [
        ("/", {}, ""),
        ("/a/b/c", {}, "/ /a /a/b"),
        ("/a/b/../c", {}, "/ /a /a/b /a"),
        ("/../a", {}, "/ /"),
        ("/!/...", {}, "/ /!"),
        ("/a/b/c", {"/a/b": "d"}, "/ /a /a /a/d"),
        ("/a/b/c", {"/a/b": "d/e"}, "/ /a /a /a/d /a/d/e"),
        ("/a/b/c", {"/a/b": "../d"}, "/ /a /a / /d"),
        ("/a/b/c", {"/a/b": "/d/e"}, "/ /a / /d /d/e"),
        ("/a/b/c", {"/a/b": "//d"}, "/ /a / /d"),
        ("/a/b/c", {"/a/b": "/"}, "/ /a /"),
        ("/a/b/../c", {"/a/b": "/d/e"}, "/ /a / /d /d/e /d"),
        ("/state", {"/state": "/open/mid", "/open/mid": "/real"}, "/ / /open /"),
        ("/a", {"/a": "/b/c", "/b": "d", "/d/c": "e"}, "/ / / /d /d"),
    ],
)
def test_the_folders_on_the_way(path: str, links: dict[str, str], folders: str) -> None:
    found = folders_on_the_way(PurePosixPath(path), lambda one: links.get(str(one)))
    assert [str(folder).replace("//", "/") for folder in found] == folders.split()


def test_a_way_that_leads_nowhere_ends() -> None:
    """As for a system: after 40 links."""
    assert len(list(folders_on_the_way(PurePath("/a"), lambda path: "a"))) == 41
    left = [f"{number}" for number in range(40)]
    way = folders_on_the_way(PurePath("/a/z"), lambda path: left.pop() if path.name != "z" and left else None)
    assert [str(folder) for folder in way] == ["/"] * 41 + ["/0"]
