"""The contrastive unit of the letter: model, simulation, theory, sweeps, claims, figures, equations."""
