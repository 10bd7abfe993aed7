"""Picked checkpoint -> served, exported, scored. Imports core and harness."""
