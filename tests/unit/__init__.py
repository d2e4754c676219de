"""No I/O, no sleep, an injected clock."""
