"""Train to near zero loss: the loop, its schedule, and the callback for the Trainer."""
