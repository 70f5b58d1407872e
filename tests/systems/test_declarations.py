"""Short forms of declarations are the long ones."""

from clhd.systems.declarations import Parameter, choice, count, number


def test_short_forms_of_parameters_are_parameters() -> None:
    long = Parameter(kind="number", default=1.0, meaning="slope", symbol="s", minimum=0, units="m")
    assert number(1.0, "slope", "s", minimum=0, units="m") == long
    assert count(None, "size", in_theory=False) == Parameter("count", None, "size", in_theory=False)
    assert choice("a", "law", ["a", "b"], symbol="l") == Parameter("choice", "a", "law", "l", choices=("a", "b"))
