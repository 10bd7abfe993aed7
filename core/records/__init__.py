"""Records of any file that people have, as its columns, one at a time."""
