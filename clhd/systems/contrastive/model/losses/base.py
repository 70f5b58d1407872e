"""`Loss`: the code, the degree and the Gaussian pair averages that every loss must declare."""

from dataclasses import dataclass

# Exponents (a, b, c) of the monomial h^a h'^b h''^c of one view.
Monomial = tuple[int, int, int]
ONE: Monomial = (0, 0, 0)
H: Monomial = (1, 0, 0)
D: Monomial = (0, 1, 0)
S: Monomial = (0, 0, 1)
HH: Monomial = (2, 0, 0)
DD: Monomial = (0, 2, 0)
HD: Monomial = (1, 1, 0)
HS: Monomial = (1, 0, 1)
HDD: Monomial = (1, 2, 0)
HHD: Monomial = (2, 1, 0)
HHDD: Monomial = (2, 2, 0)
HHHH: Monomial = (4, 0, 0)


@dataclass(frozen=True)
class Loss:
    """A loss of the positive pair and one view of each negative.

    Attributes
    ----------
    code : int
        Code of the loss in kernels.
    degree : int
        Degree of the loss as a polynomial of the outputs h_v; 0 if it is not a polynomial.
    pairs : tuple of (Monomial, Monomial)
        The pair averages E[f(z_1) g(z_2) | c] over the two views of one sample, in the order in which `combine` takes
        them; the average of one view is a pair with `ONE`. Empty if the averages do not factorise over the samples:
        the theory then averages over a set of points, with `differentiate_forces`.
    """

    code: int
    degree: int
    pairs: tuple[tuple[Monomial, Monomial], ...]

    @property
    def factorises(self) -> bool:
        """True if the averages of the loss follow from pair averages."""
        return len(self.pairs) > 0
