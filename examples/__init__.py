"""Examples that run: a modality of one file."""
