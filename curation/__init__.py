"""NI tasks -> few-shot scores -> buckets -> mix. Imports nothing of the packages above it."""
