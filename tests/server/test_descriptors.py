import logging
import resource
from collections.abc import Iterator

import pytest
from p2p_server import descriptors
from p2p_server.limits import Limits


@pytest.fixture
def as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_is_raised_as_far_as_it_goes(as_before: None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    assert descriptors.raise_limit() == (None if hard == resource.RLIM_INFINITY else hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize(
    ("peers", "stun", "files", "fitting"),
    [
        (500, 396, 1024, (500, 396)),  # and 128 for the rest
        (10_000, 10_000, None, (10_000, 10_000)),
        (10_000, 10_000, 10_128, (5000, 5000)),
        (100, 10_000, 10_128, (100, 9900)),
        (10_000, 100, 10_100, (9872, 100)),
        (10_000, 10_000, 0, (1, 1)),
    ],
)
def test_connections_fit_into_the_files_there_are(
    peers: int,
    stun: int,
    files: int | None,
    fitting: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    limits = descriptors.fit(Limits(max_connections=peers, stun_connections=stun), stun=True, files=files)
    assert (limits.max_connections, limits.stun_connections) == fitting
    assert bool(caplog.records) is (fitting != (peers, stun))


def test_it_is_a_warning_where_somebody_asked_for_so_many(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    descriptors.fit(Limits(), stun=True, files=1024)
    descriptors.fit(Limits(max_connections=10_000), stun=True, files=1024)
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING]


def test_no_files_are_kept_for_stun_that_is_not_answered() -> None:
    assert descriptors.fit(Limits(max_connections=800), stun=False, files=1024).max_connections == 800
    assert descriptors.fit(Limits(max_connections=1000), stun=False, files=1024).max_connections == 896
