"""The ODE of several units with the covariance loss, as a flow of their Gram matrix."""
