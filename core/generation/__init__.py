"""Requests to a model and the engines that answer them, one heavy library each."""
