"""What is planned and run: declarations to cells, each made once."""
