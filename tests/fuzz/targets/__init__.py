"""The table of targets, by groups: `make fuzz` has a process for each group, and its parsers have code in common."""

import importlib
import pkgutil

from tests.fuzz.target import Target

__all__ = ["GROUPS", "TARGETS"]

GROUPS: dict[str, tuple[Target, ...]] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").TARGETS
    for module in pkgutil.iter_modules(__path__)
}
"""By the name of the module that has them."""

TARGETS: dict[str, Target] = {target.name: target for group in GROUPS.values() for target in group}
