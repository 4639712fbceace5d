"""Continue prompts: many at once, by named methods, with a cache that is verified first."""
