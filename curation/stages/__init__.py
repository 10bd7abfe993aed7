"""The five numbered stages of curation, one module a folder of the run; each takes the stage before it."""
