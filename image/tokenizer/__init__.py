"""Images to codes and back: what loads a VQ tokenizer, and what trains one."""
