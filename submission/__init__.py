"""Picked checkpoint -> served over HTTP -> scored. The top package: imports harness and curation."""
