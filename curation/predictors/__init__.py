"""Engines behind `curation.predict.Predictor`, one heavy library each."""
