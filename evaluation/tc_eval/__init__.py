"""TC-Eval: reading, multiple choice, sentiment and summaries in Traditional Chinese; its metrics and Taiwan LLM's."""
