"""Steps of data pipelines, and the reading of files below them."""
