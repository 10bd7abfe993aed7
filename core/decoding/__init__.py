"""Rows of tokens that a model continues together, and what it keeps of the prompts that it has read."""
