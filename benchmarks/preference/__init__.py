"""Blind comparisons by people: a page that asks, and the scores of what they answered."""
