"""General code holds no word of a system: figures, claims and sweep take their words from its declaration.

A word is a parameter, an output, a coordinate, a claim or a figure of an installed system. A word of several parts is
found with spaces too (``noise_law``, "noise law"), and as part of a longer name (``plot_noise_law``).
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import clhd
from clhd.systems.protocol import System
from clhd.systems.registry import find_system, list_systems

PACKAGE = Path(clhd.__file__).parent

# Words of a system that are words of everybody, or of the machine, and why.
ALLOWED: Mapping[str, str] = {
    "background": "of a page, and of a job",
    "batch": "system of a cluster",
    "cells": "of tables and maps",
    "constraint": "of certificates",
    "curve": "kind of a parameter",
    "distribution": "what runs have",
    "initial": "argument of numpy functions",
    "moments": "what a store can keep of the replicas",
    "nodes": "of a cluster",
    "outcome": "of a command",
    "point": "of a grid, and what a figure draws",
    "simulation": "half of a system",
    "state": "of whatever there is",
    "theory": "half of a system",
    "units": "of a quantity",
}
FOREIGN = ("dimension_names", "layout_engine")  # names of Zarr and of matplotlib
GENERAL = ("claims", "figures", "sweep", "report", "cli.py", "commands.py")


def collect_words(system: System, constants: Mapping[str, int]) -> set[str]:
    """The words of one system, with some constants."""
    words = {*system.parameters, *system.claims, *system.figures}
    for half in (system.simulation, system.theory):
        outputs = half.outputs(constants)
        words |= {*outputs.variables, *outputs.coordinates}
    return words


@cache
def list_words() -> tuple[str, ...]:
    """The words of all installed systems, but for those that are allowed."""
    words = set()
    for name in list_systems():
        system = find_system(name)
        words |= collect_words(system, {system.components: 2} if system.components else {})
    assert words >= ALLOWED.keys()  # what no system has needs no allowance
    return tuple(sorted(words - ALLOWED.keys()))


def find_words(text: str, words: tuple[str, ...]) -> list[str]:
    """Each line of a text in which one of the words stands, also in the plural."""
    for name in FOREIGN:
        text = text.replace(name, "")
    forms = "|".join(re.escape(word).replace("_", "[_ ]") for word in sorted(words, key=len, reverse=True))
    pattern = re.compile(rf"(?<![A-Za-z0-9])({forms})s?(?![A-Za-z0-9])")
    return [
        f"{number}: {found[0]}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        for found in pattern.finditer(line)
    ]


def list_sources(part: str) -> list[Path]:
    """The files of a folder or module of the package."""
    path = PACKAGE / part
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in {".py", ".html", ".css"})


@pytest.mark.parametrize("part", GENERAL)
def test_general_code_has_no_word_of_a_system(part: str) -> None:
    hits = [
        f"{path.relative_to(PACKAGE)}:{hit}"
        for path in list_sources(part)
        for hit in find_words(path.read_text(encoding="utf-8"), list_words())
    ]
    assert list_sources(part)
    assert hits == [], "\n".join(hits)


def test_words_are_found_in_names_and_in_prose() -> None:
    words = ("noise_law", "cell")
    assert len(find_words("plot_noise_law = 1  # The noise laws of all cells", words)) == 3
    assert find_words("a cellar, a noisy law, excellent", words) == []
