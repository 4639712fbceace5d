"""The report of a run: the page, the model card and the lines in a terminal."""
