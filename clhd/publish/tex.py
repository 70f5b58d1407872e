r"""Texts and numbers as LaTeX takes them.

| value | becomes |
|---|---|
| estimate | its value, and its interval, both rounded so that the half-width of the interval has two digits |
| other number | 4 digits; ``1.2\times10^{-7}`` |
| text | itself, with the characters that LaTeX takes for its own escaped |
"""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any

from markupsafe import Markup

from clhd.core.text import format_interval, format_number
from clhd.report.text import is_estimate

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
_POWER = re.compile(r"\\textasciicircum\{\}(?:\((-?[\d/]+)\)|(-?\d+))")


def escape_tex(text: str) -> str:
    """Return a text for LaTeX; ``n^(-1/2)`` is a power, and a letter that is not ASCII is left to LaTeX as UTF-8."""
    escaped = "".join(_ESCAPED.get(letter, letter) for letter in " ".join(text.split()))
    return _POWER.sub(r"\\textsuperscript{\1\2}", escaped)


def format_tex_number(number: float) -> str:
    """Return a number with 4 digits for LaTeX, inside or outside of formulas."""
    return _mark_number(format_number(number))


def _mark_number(text: str) -> str:
    mantissa, e, exponent = text.replace("\N{MINUS SIGN}", "-").partition("e")
    mantissa = mantissa.replace(",", "{,}")
    power = rf"\times10^{{{int(exponent)}}}" if e else ""
    return rf"\ensuremath{{{mantissa}{power}}}"


def format_tex(value: Any) -> tuple[str, str]:
    """Return a plain value, as claims.json holds it, for LaTeX; and its interval, empty if it has none."""
    if is_estimate(value):
        return _format_estimate(value["value"], value["low"], value["high"])
    if value is None:
        return "not known", ""
    if isinstance(value, bool):
        return ("yes" if value else "no"), ""
    if isinstance(value, int | float):
        return format_tex_number(value), ""
    if isinstance(value, Markup):  # a rounded number, as a page shows it
        text = escape_tex(unescape(re.sub(r"<sup>(.*?)</sup>", r"^\1^", str(value))))
        return re.sub(r"\\textasciicircum\{\}(.*?)\\textasciicircum\{\}", r"\\textsuperscript{\1}", text), ""
    return escape_tex(str(value)), ""


def _format_estimate(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    if value is None or low is None or high is None:
        return ("not known" if value is None else format_tex_number(value)), "not known"
    found = format_interval(value, low, high)
    if found is None:
        return format_tex_number(value), "exact"
    first, second, third = (_mark_number(text) for text in found)
    return first, f"{second} to {third}"


def flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield each single value in tables and lists with its path, such as ``C3.slopes.2``; lists count from 1."""
    if isinstance(value, Mapping) and not is_estimate(value):
        for name, entry in value.items():
            plain = re.sub(r"[^\w.+= -]", "", str(name))  # others would end or change the argument of a macro
            yield from flatten(entry, f"{path}.{plain}")
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value, 1):
            yield from flatten(entry, f"{path}.{number}")
    else:
        yield path, value
