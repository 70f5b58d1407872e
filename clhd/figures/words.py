"""Text on figures: symbols as mathematics, labels with name, symbol and unit, numbers as people write them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

_GREEK = ("alpha", "beta", "eta", "kappa", "lambda", "nu", "rho", "sigma", "xi")


def format_symbol(symbol: str) -> str:
    """A symbol such as ``s_a^2``, ``rho`` or ``k_12`` as mathematics; empty if there is none."""
    if not symbol:
        return ""
    text = re.sub(rf"(?<![A-Za-z\\])({'|'.join(_GREEK)})(?![a-z])", r"\\\1", symbol)
    text = re.sub(r"([_^])(\w{2,})", r"\1{\2}", text)
    return f"${text}$"


def label_axis(words: Mapping[Any, Any], name: str) -> str:
    """Name, symbol and unit, such as ``time $t$ (steps per dimension)``."""
    parts = [str(words.get("long_name") or name.replace("_", " ")), format_symbol(str(words.get("symbol", "")))]
    units = str(words.get("units", "1"))
    if units not in {"", "1"}:
        parts.append(f"({units})")
    return " ".join(part for part in parts if part)


def format_number(value: Any) -> str:
    """A value of a coordinate: whole numbers with their thousands apart, others short; words as they are."""
    if isinstance(value, str | np.str_):
        return str(value)
    number = float(value)
    if number == round(number) and 1e3 <= abs(number) < 1e12:
        return f"{number:,.0f}"
    return f"{number:.4g}".replace("-", "\N{MINUS SIGN}")


def format_place(coordinate: xr.DataArray, value: Any) -> str:
    """One position along a coordinate, such as ``$n$ = 1,000``; the labels of a joint axis say it themselves."""
    if isinstance(value, str | np.str_):
        return str(value)
    symbol = format_symbol(str(coordinate.attrs.get("symbol", "")))
    return f"{symbol or str(coordinate.attrs.get('long_name', coordinate.name))} = {format_number(value)}"


def format_plain(coordinate: xr.DataArray, value: Any) -> str:
    """One position for a text without mathematics, such as ``dimension = 1,000``."""
    if isinstance(value, str | np.str_):
        return str(value)
    return f"{coordinate.attrs.get('long_name', coordinate.name)} = {format_number(value)}"


def join_words(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
