"""Measurements of a model and its texts: sharpness, diversity, copying, with intervals."""
