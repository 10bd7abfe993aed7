"""llama.cpp as the other program: its environment, and the script that runs in it."""
