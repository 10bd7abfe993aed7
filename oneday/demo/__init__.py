"""`oneday demo`: a made corpus, a tiny base model, and the main job on both."""
