"""What is known: summaries, status, single points."""
