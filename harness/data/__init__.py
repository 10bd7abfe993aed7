"""What a training is fed: a mix from files of the user's own."""
