"""Super-NaturalInstructions: tasks, their selection and kinds, few-shot prompts, buckets."""
