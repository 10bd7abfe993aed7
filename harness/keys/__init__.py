"""The keys of an Axolotl recipe: which ones Axolotl knows, which the day decides, and what they ask for."""
