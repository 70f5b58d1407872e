"""Floor 2: what can be swept; each system has parameters, a simulation and, where one exists, a theory."""

from importlib import import_module
from typing import Any

from clhd.errors import ClhdError
from clhd.systems.protocol import System

# Where each system lives. Modules are imported at need: what only reads results should not wait for compilers.
SYSTEMS = {
    "contrastive": "clhd.systems.contrastive.sweeps.contrastive:ContrastiveSystem",
    "weights": "clhd.systems.contrastive.sweeps.weights:WeightsSystem",
    "selection": "clhd.systems.contrastive.sweeps.selection:SelectionSystem",
    "portrait": "clhd.systems.contrastive.sweeps.portrait:PortraitSystem",
}


def find_system(name: str) -> System:
    """Return the system that an experiment names.

    Raises
    ------
    ClhdError
        If there is none of this name.
    """
    if name not in SYSTEMS:
        raise ClhdError(f"system = {name!r}: must be one of {', '.join(sorted(SYSTEMS))}")
    module, _, attribute = SYSTEMS[name].partition(":")
    system: Any = getattr(import_module(module), attribute)
    return system()  # type: ignore[no-any-return]
