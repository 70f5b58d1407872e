"""The ODE of several units with the covariance loss."""
