"""A run's result as files for others: adapter or merged weights, with a model card."""
