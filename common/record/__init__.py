"""The run folder: its files, its metrics, and its provenance."""
