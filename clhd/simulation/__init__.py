"""Floor 1: online SGD at finite dimension, as the exact projected chain and as the full weight vector."""
