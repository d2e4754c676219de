"""A small bank: what happens to its wallets without a lock, with one, and when a worker is killed."""
