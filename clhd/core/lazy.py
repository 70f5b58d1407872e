"""Libraries that take longer to import than most commands take to run; each is imported when it is first used.

A module that uses one writes ``from clhd.core.lazy import xr``, and ``from __future__ import annotations`` if it names
the library in annotations, since these would use it at once.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["integrate", "interpolate", "optimize", "qmc", "spatial", "special", "stats", "xr"]


class _Lazy(ModuleType):
    """Stands for a module, and imports it when an attribute is asked for."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import xarray as xr
    from scipy import integrate, interpolate, optimize, spatial, special, stats
    from scipy.stats import qmc
else:
    integrate = _Lazy("scipy.integrate")
    interpolate = _Lazy("scipy.interpolate")
    optimize = _Lazy("scipy.optimize")
    qmc = _Lazy("scipy.stats.qmc")
    spatial = _Lazy("scipy.spatial")
    special = _Lazy("scipy.special")
    stats = _Lazy("scipy.stats")
    xr = _Lazy("xarray")
