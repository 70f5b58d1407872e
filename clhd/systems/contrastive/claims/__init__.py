"""The statements of the letter, judged from summaries."""
