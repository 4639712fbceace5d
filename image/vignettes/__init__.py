"""The painter of small scenes, from a seed alone."""
