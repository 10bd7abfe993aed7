"""The commands that ask a model a suite, and that score its responses."""
