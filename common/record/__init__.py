"""The run folder: its files, its metrics, and what repeats it."""
