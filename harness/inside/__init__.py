"""What runs inside Axolotl's process: plugin, callback, trainer, and the events that it sends."""
