"""What holds for every test: generated examples are moderate in number and never timed; signals arrive."""

import os
import signal

from hypothesis import HealthCheck, settings

# No deadline: a busy machine is not a bug. HYPOTHESIS_PROFILE=thorough looks further.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Programs that are started with SIGHUP ignored, as under nohup, ignore it as well; a handler is not handed down.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
