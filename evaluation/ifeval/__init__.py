"""IFEval: prompts whose instructions a program can check. `suite.py` first."""
