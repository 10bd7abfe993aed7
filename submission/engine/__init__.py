"""Prompts in, text with log-probabilities out: batched decoding in one model thread."""
