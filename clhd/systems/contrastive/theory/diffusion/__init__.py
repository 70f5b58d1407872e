"""The diffusion matrix of the order parameters, and their Gaussian fluctuations around the ODE."""
