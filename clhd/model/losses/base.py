"""What a loss must name: its views, and the Gaussian pair averages of which its theory is made."""

from dataclasses import dataclass

# A monomial h^a h'^b h''^c of one view is its exponents (a, b, c).
Monomial = tuple[int, int, int]
ONE: Monomial = (0, 0, 0)
H: Monomial = (1, 0, 0)
D: Monomial = (0, 1, 0)
S: Monomial = (0, 0, 1)
HH: Monomial = (2, 0, 0)
DD: Monomial = (0, 2, 0)
HD: Monomial = (1, 1, 0)


@dataclass(frozen=True)
class Loss:
    """A loss whose averages factorise over samples.

    Attributes
    ----------
    code : int
        By which kernels know it.
    views : int
        V, the views in one step: views 0 and 1 are the positive pair, the others one view each of other samples.
    pairs : tuple of (Monomial, Monomial)
        The pair averages E[f(z_1) g(z_2) | c] over the two views of one sample that `combine` takes, in its order;
        a one-view average is a pair with `ONE`.
    """

    code: int
    views: int
    pairs: tuple[tuple[Monomial, Monomial], ...]
