"""Checkpoints: sealed, measured, raced, picked, published."""
