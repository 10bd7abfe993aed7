"""Mix -> budgeted Axolotl QLoRA run -> picked checkpoint. Imports curation, never submission."""
