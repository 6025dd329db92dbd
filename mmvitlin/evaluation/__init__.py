"""Scores of networks: metrics, robustness, resolution, what was transferred."""
