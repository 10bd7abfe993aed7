"""The real HELM: installed, run, and its results read."""
