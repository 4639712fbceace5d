"""How completions are judged: feature networks, FID and related metrics, repeats, copies."""
