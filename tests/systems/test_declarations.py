"""Short forms of declarations are the long ones."""

from clhd.systems.declarations import Output, Parameter, choice, count, describe, number, output


def test_short_forms_of_parameters_are_parameters() -> None:
    long = Parameter(kind="number", default=1.0, meaning="slope", symbol="s", minimum=0, units="m")
    assert number(1.0, "slope", "s", minimum=0, units="m") == long
    assert count(None, "size", in_theory=False) == Parameter("count", None, "size", in_theory=False)
    assert choice("a", "law", ["a", "b"], symbol="l") == Parameter("choice", "a", "law", "l", choices=("a", "b"))


def test_the_short_form_of_an_output_is_an_output() -> None:
    words = describe("height", "h", "m", "above the sea")
    assert output(("time",), "height", "h", "m", "above the sea", may_be_nan=True) == Output(
        ("time",), words, may_be_nan=True
    )
