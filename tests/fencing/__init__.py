"""Guards, on real stores of record."""
