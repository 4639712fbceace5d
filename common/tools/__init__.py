"""What knows nothing of hyperfitting: options, files, devices, n-grams."""
