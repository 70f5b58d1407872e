"""The ODE of the order parameters: its right-hand side, and its integration for one start or thousands."""
