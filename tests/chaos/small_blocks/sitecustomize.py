"""Python imports this first in all processes of the campaign: so that runs of a few seconds are written in many blocks.

A block takes half a second or longer, which would make four or five of what is killed here.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any

_BLOCKS, MIN_BLOCK_SECONDS = "clhd.sweep.plan.blocks", 0.1


class _Finder:
    """Loads the module that sizes blocks, and then changes its least size."""

    def find_spec(self, name: str, *_: Any) -> Any:
        if name != _BLOCKS:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec: Any = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            if not hasattr(module, "MIN_BLOCK_SECONDS"):
                raise ImportError(f"{name} has no MIN_BLOCK_SECONDS any more")
            module.MIN_BLOCK_SECONDS = MIN_BLOCK_SECONDS  # type: ignore[attr-defined]

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
