"""The certificate that the mediator shows, from its files, which may get another one while it runs.

Peers prove their keys to the certificate they saw. Those that saw an earlier one, and had not said so yet when it was
exchanged, are still taken for a while.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from p2p_core.errors import UsageError
from p2p_core.identity import PeerId

from p2p_server import tls
from p2p_server.clock import Clock
from p2p_server.config import Config
from p2p_server.logs import fields

__all__ = ["Certificates"]

_OVERLAP = 120.0  # s; a peer that saw a certificate proves its key within a few steps of 10 s, or not at all

_SOON = timedelta(days=14)  # Let's Encrypt's tools renew when 30 days are left: they have failed for two weeks by then

_Signature = tuple[tuple[int, int, int, int], ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a certificate and its key are, and how they are read."""

    paths: tuple[Path, Path]
    load: Callable[[datetime], tls.Certificate]  # as it is now, or renewed; raises UsageError
    is_own: bool  # the mediator renews it itself


class Certificates:
    """The present certificate, and what it was made of."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Load it; raise `UsageError` if that cannot be."""
        self._files = _files(config)
        self._clock = clock
        self._signature = self._sign()
        self._problem = ""
        self._found = self._signature
        self._earlier: list[tuple[tls.Identity, float]] = []  # and until when each is known
        self.current = self._before = _first(config, self._today())
        self._first = self.current.identity
        self._expiry_told: datetime | None = None
        self._soon_told: datetime | None = None
        self._tell_expiry()

    def identities(self) -> tuple[tls.Identity, ...]:
        """Return who the mediator is to peers that connect now, and who it was to those that did so just before."""
        now = self._clock.now()
        return self.current.identity, *(identity for identity, until in reversed(self._earlier) if now < until)

    def look(self, *, thoroughly: bool = False) -> tls.Certificate | None:
        """Return another certificate, if there is one now; `use` it then. May be called in a thread.

        A pair that cannot be used is warned of, and looked at again until it can: the two files are written one after
        the other. `thoroughly` reads them even though they look as they did.
        """
        self._tell_expiry()
        signature, now = self._sign(), self._today()
        is_due = self._files.is_own and self.current.expires - now < tls.RENEW_BEFORE
        if signature is not None and signature == self._signature and not is_due and not thoroughly:
            return None
        try:
            found = self._files.load(now)
        except UsageError as error:
            self._tell_problem(error)
            return None
        if found == self.current:
            self._signature, self._problem = signature, ""
            return None
        self._found = signature
        return found

    def use(self, certificate: tls.Certificate) -> None:
        """Make `certificate`, which `look` has found, the present one. It is not shown yet: `tell` or `take_back`."""
        now = self._clock.now()
        known = [(identity, until) for identity, until in self._earlier if now < until]
        self._earlier = [*known, (self.current.identity, now + _OVERLAP)]
        self._before, self.current = self.current, certificate
        self._signature = self._found

    def take_back(self, why: UsageError) -> None:
        """Make the one before the present one again, as the other cannot be shown; it will be found again."""
        self.current, self._signature = self._before, None
        self._earlier.pop()
        self._tell_problem(why)

    def tell(self) -> None:
        """Log that the present one is shown now."""
        self._problem = ""
        _log.info(
            "another certificate is shown from now on",
            extra=fields(event="certificate-exchanged", expires=self.current.expires.date()),
        )
        if self.current.identity.id != self._first.id:
            _log.warning(
                "its key is another than at the start: peers that remember this mediator's id will refuse it",
                extra=fields(event="mediator-id-changed", mediator_id=PeerId(self.current.identity.id)),
            )

    def _tell_problem(self, why: UsageError) -> None:
        if str(why) != self._problem:
            _log.warning(
                "another certificate cannot be used; the present one stays",
                extra=fields(event="certificate-unusable", why=why),
            )
        self._problem = str(why)

    def _tell_expiry(self) -> None:
        expires, today = self.current.expires, self._today()
        if expires < today and expires != self._expiry_told:
            self._expiry_told = expires
            _log.warning(
                "the certificate has expired", extra=fields(event="certificate-expired", expires=expires.date())
            )
        elif today <= expires < today + _SOON and expires != self._soon_told:
            self._soon_told = expires
            _log.warning(
                "the certificate expires soon", extra=fields(event="certificate-expires-soon", expires=expires.date())
            )

    def _sign(self) -> _Signature | None:
        """Return what changes when a file does; None while one is not there."""
        try:
            status = [path.stat() for path in self._files.paths]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_ctime_ns, one.st_ino, one.st_size) for one in status)

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_time(), UTC)


def _first(config: Config, now: datetime) -> tls.Certificate:
    if config.tls_cert is None or config.tls_key is None:
        return tls.load_or_create(config.state_dir, now)
    return tls.load(config.tls_cert, config.tls_key)


def _files(config: Config) -> _Files:
    if config.tls_cert is None or config.tls_key is None:
        folder = config.state_dir
        paths = folder / tls.CERTIFICATE_FILE, folder / tls.KEY_FILE
        return _Files(paths, lambda now: tls.renew(folder, now), is_own=True)
    certificate, key = config.tls_cert, config.tls_key
    return _Files((certificate, key), lambda _: tls.load(certificate, key), is_own=False)
