"""Text as templates show it: the only functions that turn the text of a file into markup, after escaping all of it."""

import re
from typing import Any

from markupsafe import Markup, escape

from clhd.claims.verdict import Verdict
from clhd.core.text import format_interval, format_number

_ESTIMATE = ("value", "low", "high")
VERDICTS = tuple(str(verdict) for verdict in Verdict)


def mark_powers(text: str) -> Markup:
    """Return a sentence with its powers, such as n^(-1/2), as superscripts."""
    powers = r"\^(?:\((-?[\w/]+)\)|(-?\w+))"
    return Markup(
        re.sub(powers, lambda found: f"<sup>{(found[1] or found[2]).replace('-', '&minus;')}</sup>", escape(text))
    )


def mark_caption(text: str) -> Markup:
    """Return a caption, in the small part of reStructuredText that captions use: paragraphs, bold, emphasis, code."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())
    return Markup("".join(f"<p>{_mark_inline(paragraph)}</p>" for paragraph in paragraphs))


def _mark_inline(text: str) -> str:
    html = re.sub(r"``(.+?)``", r"<code>\1</code>", str(mark_powers(text)))
    html = re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"<strong>\1</strong>", html)
    return re.sub(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=\S)\*(?![\w*])", r"<em>\1</em>", html)


def make_anchor(name: str, kind: str) -> str:
    """Return the id of a place on the page, made of any name."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}"


def is_verdict(value: Any) -> bool:
    """True for the three verdicts."""
    return isinstance(value, str) and value in VERDICTS


def name_verdict(verdict: str) -> str:
    """Return the class of a verdict in the style sheet; any other word looks like "undecided"."""
    return verdict.replace(" ", "-") if verdict in VERDICTS else "undecided"


def is_estimate(value: Any) -> bool:
    """True for a `clhd.claims.verdict.Estimate` as JSON holds it: a table of exactly its names."""
    return isinstance(value, dict) and set(value) == set(_ESTIMATE)


def split_estimate(estimate: dict[str, Any]) -> tuple[Any, str]:
    """Return the value and the interval of an estimate, rounded so that the half-width of the interval has two digits.

    The interval is "exact" if it has no width, and empty if the value is not known.
    """
    value, low, high = (estimate[name] for name in _ESTIMATE)
    if value is None or low is None or high is None:
        return ("not known" if value is None else mark_number(value)), ""
    found = format_interval(value, low, high)
    if found is None:
        return mark_number(value), "exact"
    return _mark_number(found[0]), f"{_mark_number(found[1])} to {_mark_number(found[2])}"


def mark_number(number: float) -> Markup:
    """Return a number for people; a power of ten is a superscript."""
    return _mark_number(format_number(number))


def _mark_number(text: str) -> Markup:
    mantissa, e, exponent = text.replace("\N{MINUS SIGN}", "-").partition("e")
    marked = mantissa.replace("-", "\N{MINUS SIGN}")
    return mark_powers(f"{marked}\N{MULTIPLICATION SIGN}10^{int(exponent)}" if e else marked)
