"""Checkpoints: seals, validation losses, comparison under a deadline, choice and publication."""
