import subprocess
import sys

import pytest
from p2p_core import private_memory

_LOOKED = """
import ctypes, resource
from p2p_core.private_memory import keep_memory_private
keep_memory_private()
print(*resource.getrlimit(resource.RLIMIT_CORE))
print(ctypes.CDLL(None).prctl(3) if {linux} else 0)  # PR_GET_DUMPABLE
"""


def test_a_process_has_no_core_file_and_is_not_dumpable() -> None:
    looked = _LOOKED.format(linux=sys.platform == "linux")  # in a process of its own: nothing takes it back
    assert subprocess.check_output([sys.executable, "-c", looked], text=True).split() == ["0", "0", "0"]


def test_a_sandbox_that_forbids_it_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd's @resources does. The process of the tests stays as it is."""

    def refuse(_what: int, _limits: tuple[int, int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(private_memory.resource, "setrlimit", refuse)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    private_memory.keep_memory_private()


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
def test_elsewhere_a_limit_is_all_there_is(platform: str) -> None:
    if sys.platform != "linux":
        pytest.skip("this is elsewhere")
    looked = f"import sys; sys.platform = {platform!r}" + _LOOKED.format(linux=True)
    assert subprocess.check_output([sys.executable, "-c", looked], text=True).split() == ["0", "0", "1"]
