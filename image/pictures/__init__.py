"""Images in: folders, data sets and drawn scenes, made square."""
