"""How completions are judged: feature networks, FID and kin, repeats, copies."""
