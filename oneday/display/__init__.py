"""What a person sees: console, tables, the live view."""
