"""What a loss must name: its code, its size, and the Gaussian pair averages of which its theory is made."""

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
HS: Monomial = (1, 0, 1)
HDD: Monomial = (1, 2, 0)
HHD: Monomial = (2, 1, 0)
HHDD: Monomial = (2, 2, 0)
HHHH: Monomial = (4, 0, 0)


@dataclass(frozen=True)
class Loss:
    """A loss as the theory and the kernels see it. Its views are the positive pair and one view of each negative.

    Attributes
    ----------
    code : int
        By which kernels know it.
    degree : int
        Of the loss as a polynomial of the outputs h_v; 0 if it is none.
    pairs : tuple of (Monomial, Monomial)
        The pair averages E[f(z_1) g(z_2) | c] over the two views of one sample that `combine` takes, in its order;
        a one-view average is a pair with `ONE`. Empty if the averages do not factorise over the samples: then
        `differentiate_forces` serves averages over a set of points.
    has_parameters : bool
        True if temperature and number of negatives belong to it; otherwise there is one negative.
    """

    code: int
    degree: int
    pairs: tuple[tuple[Monomial, Monomial], ...]
    has_parameters: bool = False

    @property
    def factorises(self) -> bool:
        """True if its averages are made of pair averages."""
        return len(self.pairs) > 0
