"""Runs a planned study: its folder, the runners that train and evaluate, the loop over them."""
