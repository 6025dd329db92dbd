"""Forms of operators that walk tokens in tiles which stay in a CPU's cache."""
