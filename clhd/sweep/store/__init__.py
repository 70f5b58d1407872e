"""Zarr stores: create, check, grow, repair, lock."""
