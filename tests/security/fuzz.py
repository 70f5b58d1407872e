"""Damages inputs at random, and checks the answer of a command: done, or clear lines and exit code 2.

A campaign with N experiment files (`make chaos`): ``CLHD_FUZZ=5000 pytest --hypothesis-seed=0 tests/security``. Without
it, a few hundred, which are always the same.
"""

import copy
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from clhd.cli import main

ROOT = Path(__file__).parents[2]
# A refusal takes milliseconds, and the slowest plan some seconds: what takes two minutes hangs.
_HANGS_AFTER_SECONDS = 120
_LONGEST_LINE = 2000

WEIRD_WORDS = (
    "", " ", "none", "null", "..", "../../etc/passwd", "/etc/passwd", "a/b", ".hidden", "a\nb", "é", "日本", "a" * 5000,
    "$(touch x)", "`id`", "; id", "<script>alert(1)</script>", "%s%n", "{0}", "__class__", "0x10", "1:30", "1e5", "-0",
)  # fmt: skip
WEIRD_NUMBERS = (
    0, 1, -1, 2, 3, 1.5, -0.0, 1e-320, 1e-300, 1e300, 1e308, float("inf"), float("-inf"), float("nan"), 10**9, 10**18,
    2**31, 2**63, 2**64, 10**30, 10**299, 10**350, -(10**30), 257, 512,
)  # fmt: skip
_LEAVES = st.one_of(st.sampled_from(WEIRD_NUMBERS), st.sampled_from(WEIRD_WORDS), st.booleans(), st.none())
VALUES = st.one_of(
    _LEAVES,
    st.recursive(
        _LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(
                st.sampled_from(("start", "stop", "count", "spacing", "together", "kurtosis", "dimension")), inner
            ),
        ),
        max_leaves=6,
    ),
    st.fixed_dictionaries(
        {
            "start": st.sampled_from((0, 1, -1, 0.5, 1e300)),
            "stop": st.sampled_from((1, 2, 0, 1e300, -1)),
            "count": st.sampled_from((0, 1, 2, 3, 10**7, 10**8, 10**9, 10**18, 1e400, -1, 2.5)),
        },
        optional={"spacing": st.sampled_from(("log", "linear", "square"))},
    ),
)


# Of so many mutated experiment files come all examples of a test run without CLHD_FUZZ.
_USUAL = 400


def campaign(examples: int, one_in: int = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a test: so many examples, by --hypothesis-seed, in proportion to CLHD_FUZZ.

    Without CLHD_FUZZ the examples are always the same, and of slow ones only one in so many is tried.
    """
    wanted = os.environ.get("CLHD_FUZZ")
    return settings(
        max_examples=-(-examples * int(wanted) // _USUAL) if wanted else -(-examples // one_in),
        derandomize=wanted is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def tally(what: str, answer: str) -> None:
    """Note what came of one example in the file that CLHD_FUZZ_TALLY names, for the campaign's report."""
    if name := os.environ.get("CLHD_FUZZ_TALLY"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(f"{what}: {answer}\n")


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in nested tables and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*path, key)
        yield from places_of(entry, (*path, key))


@st.composite
def mutated_values(draw: st.DrawFn, value: Any, values: st.SearchStrategy[Any] = VALUES, most: int = 3) -> Any:
    """Nested tables and lists in which up to `most` things are dropped, renamed, replaced, moved or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        places = list(places_of(value))
        if not places:
            return value
        *path, key = draw(st.sampled_from(places))
        inner = value
        for step in path:
            inner = inner[step]
        action = draw(st.sampled_from(("replace", "replace", "replace", "drop", "rename", "wrap", "copy")))
        if action == "replace":
            inner[key] = draw(values)
        elif action == "drop":
            del inner[key]
        elif action == "wrap":
            inner[key] = draw(st.sampled_from(([inner[key]], {"a": inner[key]}, [[inner[key]]], str(inner[key]))))
        elif action == "rename" and isinstance(inner, dict):
            new = draw(st.sampled_from((*WEIRD_WORDS, f"{key}_2", f"{key}s", str(key).upper())))
            inner[new] = inner.pop(key)
        else:
            source = draw(st.sampled_from(places))
            copied = value
            for step in source:
                copied = copied[step] if isinstance(copied, dict | list) and _has(copied, step) else copied
            inner[key] = copy.deepcopy(copied)
    return value


def _has(inner: Any, step: Any) -> bool:
    return step in inner if isinstance(inner, dict) else isinstance(step, int) and step < len(inner)


@st.composite
def mutated_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A file that is cut, or in which bytes are replaced, inserted, removed, or lines doubled or moved."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        action = draw(st.sampled_from(("cut", "insert", "replace", "remove", "double", "zero")))
        piece = draw(st.sampled_from(_PIECES))
        if action == "cut":
            data = data[:at]
        elif action == "insert":
            data = data[:at] + piece + data[at:]
        elif action == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        elif action == "remove":
            data = data[:at] + data[at + draw(st.integers(1, 30)) :]
        elif action == "zero":
            data = data[:at] + bytes(len(data[at : at + 40])) + data[at + 40 :]
        else:
            lines = data.splitlines(keepends=True) or [b""]
            line = lines[draw(st.integers(0, len(lines) - 1))]
            lines.insert(draw(st.integers(0, len(lines))), line)
            data = b"".join(lines)
    return data


_PIECES = (
    b"\t", b"\0", b"\xff\xfe", b"\xc3", b"\xef\xbb\xbf", b":", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a",
    b"!!python/object/apply:os.system ['id']", b"<<: *a", b"---\n", b"...\n", b"%YAML 9\n", b"#", b"'", b'"', b"|\n",
    b">", b"?", b"@", b"`", b"\r", b"\x0b", b"\x1b[2J", "\u2028".encode(), "\u202e".encode(), b"9" * 400, b"!",
    b"0x" + b"F" * 5000, b"[" * 3000, b"{a: " * 2000, b"1:" * 3000 + b"1", b"-" * 1000, b"null", b"~", b"=", b"1e400",
    b'"\\ud800"', b'"\\0"', b".nan", b"-.inf", b"2001-99-99", b"!!int ''", b"!!bool x", b"!!timestamp x",
)  # fmt: skip


def as_yaml(table: Any) -> bytes:
    """As people would write it."""
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=200).encode("utf-8", "surrogatepass")


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail if what is inside does not end."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"has not ended after {_HANGS_AFTER_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    left, _ = signal.setitimer(signal.ITIMER_REAL, _HANGS_AFTER_SECONDS)  # of the time that pytest gives a test
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, before)


def run_clearly(
    arguments: Sequence[str | Path], capsys: pytest.CaptureFixture[str], names: str, allowed: Sequence[int] = (0,)
) -> int:
    """Run a command; what is no success must be clear lines that begin with, or hold, one of the `names`."""
    with no_hang():
        code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    if code == 2:
        lines = printed.err.splitlines()
        assert lines
        for line in lines:
            assert names in line, line
            assert len(line) <= _LONGEST_LINE, line[:200]
            assert line.isprintable(), line
    else:
        assert code in allowed, (code, printed.err)
    return code
