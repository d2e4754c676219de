"""Real workers, real brokers."""
