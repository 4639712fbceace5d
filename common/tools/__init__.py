"""Tools that are independent of hyperfitting: options, files, devices, n-grams."""
