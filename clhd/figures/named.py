"""`draw_named`: the figure of a function that a system names, and one line about what such a function does wrong."""

from typing import TYPE_CHECKING, Any

from clhd.errors import InputError
from clhd.systems.protocol import System
from clhd.systems.registry import explain_error, import_named, locate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_named(name: str, target: str, system: System, *arguments: Any) -> "tuple[Figure, str]":
    """Return the figure and the caption that a function of a system returns.

    Parameters
    ----------
    name : str
        Of the figure, for messages.
    target : str
        "MODULE:NAME" of the function, as the system names it.
    *arguments
        What the function takes.

    Raises
    ------
    ClhdError
        If the function cannot be imported, raises an error, or returns anything else; see `explain_error`.
    """
    what, module = f"figure = {name!r}", locate(target, system).partition(":")[0]
    function = import_named(target, system)
    with explain_error(what, module):
        found = function(*arguments)
        if module.startswith("clhd."):
            return found  # type: ignore[no-any-return]
        if not (isinstance(found, tuple) and len(found) == 2 and hasattr(found[0], "draw_without_rendering")):
            raise InputError(f"{what}: {target!r} must return a figure and its caption, not {found!r:.60}")
        figure, caption = found
        figure.draw_without_rendering()  # some mistakes, as in a formula, show only now
    return figure, str(caption)
