"""Text for people: counts, durations, sizes, numbers, symbols, positions and lists."""

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

_GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "rho",
    "sigma", "tau", "phi", "chi", "psi", "omega",
)  # fmt: skip
_MAX_LINE = 400
_MOST_DIGITS = 6  # behind the point; smaller numbers get a power of ten
MAX_LINES = 20


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 run``, ``2 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """Return a duration in s, min or h."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_age(seconds: float) -> str:
    """Return a duration in the largest unit that fits, from s to d; a clock that was set back makes it negative."""
    if seconds < 0:
        return "in the future"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def format_bytes(size: float) -> str:
    """Return a number of bytes in B to TB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def cut_line(line: str) -> str:
    """Return an error message without its middle if it is very long: its end, the remedy, must stay."""
    half = _MAX_LINE // 2
    return line if len(line) <= _MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def cut_lines(lines: list[str]) -> str:
    """Return lines as one text; of very many only the first, and how many more there are."""
    more = len(lines) - MAX_LINES
    return "\n".join(lines if more <= 0 else [*lines[:MAX_LINES], f"... and {more} more lines like these"])


def escape_controls(text: str) -> str:
    """Return text without characters that a terminal obeys instead of showing them; lines stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def format_value(value: float | str | tuple[float, ...]) -> str:
    """Return a value as text, a float with up to 12 digits."""
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def format_name(name: str) -> str:
    """Return an identifier as words: ``selection_ode`` becomes ``selection ODE``."""
    text = name.replace("_", " ").replace("=", " = ")
    return re.sub(r"\b(sgd|ode|pde)\b", lambda found: found[0].upper(), text)


def format_symbol(symbol: str) -> str:
    """Return a symbol such as ``s_a^2``, ``rho`` or ``k_12`` as mathematics; empty text stays empty."""
    if not symbol:
        return ""
    text = re.sub(rf"(?<![A-Za-z\\])({'|'.join(_GREEK)})(?![a-z])", r"\\\1", symbol)
    text = re.sub(r"([_^])(\w{2,})", r"\1{\2}", text)
    return f"${text}$"


def label_axis(words: Mapping[Any, Any], name: str) -> str:
    """Return name, symbol and unit, such as ``time $t$ (steps per dimension)``."""
    parts = [str(words.get("long_name") or name.replace("_", " ")), format_symbol(str(words.get("symbol", "")))]
    units = str(words.get("units", "1"))
    if units not in {"", "1"}:
        parts.append(f"({units})")
    return " ".join(part for part in parts if part)


def format_number(value: Any) -> str:
    """Return a coordinate value as text: large whole numbers with commas, others with 4 digits, words unchanged."""
    if isinstance(value, str):
        return str(value)
    number = float(value)
    if number == round(number) and 1e3 <= abs(number) < 1e12:
        return f"{number:,.0f}"
    return f"{number:.4g}".replace("-", "\N{MINUS SIGN}")


def format_interval(value: float, low: float, high: float) -> tuple[str, str, str] | None:
    """Return the numbers of an estimate as text, so that the half-width of its interval has two digits.

    Returns None if the interval has no width.
    """
    half = (high - low) / 2
    if half <= 1e-12 * max(abs(low), abs(high), 1e-300):
        return None
    digits = 1 - math.floor(math.log10(half))
    if digits > _MOST_DIGITS:
        return format_number(value), format_number(low), format_number(high)
    first, second, third = (f"{round(number, digits):,.{max(digits, 0)}f}" for number in (value, low, high))
    return _mark_minus(first), _mark_minus(second), _mark_minus(third)


def _mark_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def format_place(coordinate: Any, value: Any) -> str:
    """Return one position along a coordinate, such as ``$n$ = 1,000``; of a joint axis, that of each parameter.

    A label that the experiment gives stays as it is.
    """
    if isinstance(value, str):
        names = re.findall(r"(?:^|, )(\w+)=", value)
        if not names or not all(name in coordinate.coords for name in names):
            return str(value)
        position = coordinate.values.tolist().index(value)
        return ", ".join(format_place(coordinate[name], coordinate[name].values[position]) for name in names)
    symbol = format_symbol(str(coordinate.attrs.get("symbol", "")))
    return f"{symbol or str(coordinate.attrs.get('long_name', coordinate.name))} = {format_number(value)}"


def format_plain(coordinate: Any, value: Any) -> str:
    """Return one position in text without mathematics, such as ``dimension = 1,000``."""
    if isinstance(value, str):
        return str(value)
    return f"{coordinate.attrs.get('long_name', coordinate.name)} = {format_number(value)}"


def format_html_table(title: str, rows: Mapping[str, Any]) -> str:
    """Return a table of names and values as HTML, for a notebook; a tuple has a line for each value."""
    cells = {name: value if isinstance(value, tuple) else (value,) for name, value in rows.items()}
    texts = {escape(name): "<br>".join(escape(str(value)) for value in values) for name, values in cells.items()}
    lines = "".join(f'<tr><th>{name}</th><td style="text-align: left">{text}</td></tr>' for name, text in texts.items())
    return f"<strong>{escape(title)}</strong><table><tbody>{lines}</tbody></table>"


def join_words(words: list[str]) -> str:
    """Return a list in words: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
