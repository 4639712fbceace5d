"""What the image run adds to the report: grids of pictures and their words."""
