"""What is trained: loading and saving, which parameters, hidden states to loss."""
