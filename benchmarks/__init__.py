"""What the locks cost, as ratios from one run: `python -m benchmarks`."""
