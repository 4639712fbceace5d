"""Continue prompts: many at once, by named methods, with a cache that was tried first."""
