"""The API that evaluators and the `openai` client speak: /v1/completions, /v1/chat/completions, /v1/models."""
