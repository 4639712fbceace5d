"""What all experiments judge and show with: values over seeds, findings, plots."""
