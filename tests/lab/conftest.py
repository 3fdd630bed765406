"""Makes the mark `netns` work for the tests of this folder, see `marks`."""

import pytest

from tests.lab import marks


def pytest_configure(config: pytest.Config) -> None:
    marks.install(config)
