"""Examples as token ids: templates, labels, long examples, the tokenised table."""
