"""Rehearse, plan, train, pick."""
