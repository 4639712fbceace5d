"""The judges' words: figures over seeds, findings, plots."""
