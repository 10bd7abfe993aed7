"""The composition root: command line and demo. Alone imports all packages, each lazily."""
