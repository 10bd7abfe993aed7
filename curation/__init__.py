"""Tasks and corpora -> examples, with a reason for each row that is left out. Imports core alone."""
