"""Which random moments tests choose: the same in every run. PUNCHWIRE_SEED=random chooses new ones.

Who uses it prints it, so that a failure names the seed that repeats it.
"""

import os
import random
from typing import Final

__all__ = ["SEED"]

_given = os.environ.get("PUNCHWIRE_SEED", "1")
SEED: Final = str(random.SystemRandom().randrange(10**6)) if _given == "random" else _given
