"""Builders of data: files of examples in, other files of examples out, with a reason for each record left out."""
