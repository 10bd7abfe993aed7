"""What is trained on and asked: texts in the one template."""
