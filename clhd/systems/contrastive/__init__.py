"""The contrastive unit of the letter.

| folder | what it holds |
|---|---|
| model | features, latents, activations, losses: what simulation and theory share |
| simulation | SGD at finite dimension |
| theory | the limit of infinite dimension |
| sweeps | the systems: parameters, outputs and costs of what can be swept |
| claims, figures, report | what its summaries say, show and rest on |
"""
