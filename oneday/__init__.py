"""The composition root: command line and demo. Alone imports all three packages, each lazily."""
