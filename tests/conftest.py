"""What holds for every test: generated examples are moderate in number, never timed; signals arrive; no configuration.

And for those with real programs: two pairs of keys made once, and programs that end with the test.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.programs import Keys, Programs

# No deadline: a busy machine is not a bug. HYPOTHESIS_PROFILE=thorough looks further, and for the models there is
# `long`: make test ARGS='tests/core tests/server -k _model --hypothesis-profile=long'.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Programs that are started with SIGHUP ignored, as under nohup, or SIGINT, as in the background of a shell, ignore it
# as well; a handler is not handed down.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever runs the tests may have a configuration, with STUN servers far away: nobody reads it, nor do their programs.
os.environ["XDG_CONFIG_HOME"] = os.devnull


@pytest.fixture(scope="session")
def key_pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    """Alice's and Bob's, for fixtures that serve more than one test."""
    folder = tmp_path_factory.mktemp("keys")
    return Keys.make(folder / "alice"), Keys.make(folder / "bob")


@pytest.fixture
def keys(key_pairs: tuple[Keys, Keys]) -> tuple[Keys, Keys]:
    """Alice's and Bob's, who remember no mediator."""
    for pair in key_pairs:
        pair.forget_mediators()
    return key_pairs


@pytest.fixture
def programs() -> Iterator[Programs]:
    with Programs() as running:
        yield running
