"""REPORT.md and report.html, from the cells alone."""
