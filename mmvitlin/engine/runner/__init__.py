"""From a config to a run: configs, checks, checkpoints, command lines."""
