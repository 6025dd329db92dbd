"""Recipes and sweeps of runs, their records and tables."""
