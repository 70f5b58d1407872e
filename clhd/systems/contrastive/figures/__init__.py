"""The figures of the claims."""
