"""Equations, sources and the matrix of cases, as the report shows them."""
