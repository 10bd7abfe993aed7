"""The HTTP server of the challenge's contract."""
