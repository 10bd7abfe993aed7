"""The other sources of a mix: the paper's Table 1, and data of one's own."""
