"""What a real small language model shows on real tasks: the chain of `make real`, and experiments."""
