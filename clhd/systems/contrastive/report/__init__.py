"""Equations and sources of the contrastive unit, as the report shows them."""
