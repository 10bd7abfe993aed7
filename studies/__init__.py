"""Many trainings: arms x stages x sweeps -> one budget -> selection -> results beside the paper's figures."""
