"""Floor 4: from summaries to claims; each claim is one statement, judged by numbers against thresholds set before."""
