"""Recorded or generated answers -> scores with intervals. Imports core alone."""
