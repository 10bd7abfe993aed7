"""A model's folder, its tokenizer, and its weights in memory."""
