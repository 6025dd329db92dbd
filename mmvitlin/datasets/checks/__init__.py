"""Whether the files of a data set are what its config says."""
