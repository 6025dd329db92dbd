"""Errors, paths, devices, files, processes; importing this imports nothing else."""
