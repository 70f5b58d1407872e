"""The diffusion matrix B of the order parameters, and their Gaussian fluctuations around the ODE."""
