"""What all packages stand on: run folders, models, examples, generation. Imports none of them."""
