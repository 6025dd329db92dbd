"""What networks and their parts cost."""
