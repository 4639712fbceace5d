"""The model: loading and saving, its trainable parameters, hidden states to loss."""
