"""What came of it: sharpness, diversity, copying, each with its interval."""
