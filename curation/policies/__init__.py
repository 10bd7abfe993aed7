"""What bars a row from the mix: licence, language, length, contamination, duplicates."""
