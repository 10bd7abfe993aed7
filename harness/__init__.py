"""Mix + recipe -> rehearsal -> plan -> budgeted Axolotl run -> picked checkpoint. Imports core alone."""
