"""Models are asked: responses to a suite, base against tuned, lm_eval's tasks. The model is passed in."""
