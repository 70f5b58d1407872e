"""Text on figures."""

import pytest
import xarray as xr
from matplotlib.mathtext import MathTextParser

from clhd.core.text import cut_lines, format_age, format_number, format_place, format_symbol, join_words, label_axis
from clhd.systems.contrastive.model.labels import WORDS


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("rho", r"$\rho$"),
        ("s_a^2", "$s_a^2$"),
        ("lambda_1", r"$\lambda_1$"),
        ("beta", r"$\beta$"),
        ("eta", r"$\eta$"),
        ("k_12", "$k_{12}$"),
        ("S_0", "$S_0$"),
        ("", ""),
    ],
)
def test_a_symbol_is_shown_as_mathematics(symbol: str, shown: str) -> None:
    assert format_symbol(symbol) == shown


def test_an_axis_is_labelled_with_name_symbol_and_unit() -> None:
    assert label_axis(WORDS["time"], "time") == "time $t$ (steps per dimension)"
    assert label_axis(WORDS["cosine_similarity"], "cosine_similarity") == "cosine similarity $S$"
    assert label_axis({}, "some_name") == "some name"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(100, "100"), (10_000, "10,000"), (1e6, "1,000,000"), (0.125, "0.125"), (-0.5, "−0.5"), (1 / 3, "0.3333")],  # noqa: RUF001
)
def test_a_number_is_shown_as_people_write_it(value: float, shown: str) -> None:
    assert format_number(value) == shown


def test_a_position_of_a_joint_axis_is_named_by_the_symbols_of_its_parameters() -> None:
    axis = xr.DataArray(["rate=0.5, count=1000", "rate=1, count=10"], dims="pair", name="pair")
    rates = xr.DataArray([0.5, 1.0], dims="pair", attrs={"symbol": "eta"})
    axis = axis.assign_coords(pair=axis, count=("pair", [1000, 10]), rate=rates, ate=("pair", [3, 4]))
    assert format_place(axis["pair"], "rate=0.5, count=1000") == "$\\eta$ = 0.5, count = 1,000"
    assert format_place(axis["pair"], "rate=1, count=10") == "$\\eta$ = 1, count = 10"
    named = axis["pair"].assign_coords(pair=["slow", "fast"])
    assert format_place(named["pair"], "fast") == "fast"


def test_words_are_joined_as_in_a_sentence() -> None:
    assert [join_words(list(words)) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize("name", sorted(WORDS))
def test_every_symbol_of_the_project_is_mathematics_that_matplotlib_can_set(name: str) -> None:
    symbol = format_symbol(WORDS[name]["symbol"])
    if symbol:
        MathTextParser("path").parse(symbol)


def test_very_many_lines_are_cut_and_a_few_are_not() -> None:
    lines = [f"line {number}" for number in range(30)]
    assert cut_lines(lines[:20]).splitlines() == lines[:20]
    assert cut_lines(lines).splitlines() == [*lines[:20], "... and 10 more lines like these"]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-3600.0, "in the future"), (-0.2, "in the future"), (0.0, "0 s"), (90.0, "2 min")],
)
def test_an_age_is_in_the_largest_unit_and_never_negative(seconds: float, age: str) -> None:
    assert format_age(seconds) == age
