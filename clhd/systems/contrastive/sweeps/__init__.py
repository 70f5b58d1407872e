"""What can be swept of the contrastive unit."""
