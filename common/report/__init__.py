"""The page, the model card and the lines in a terminal that tell what a run did."""
