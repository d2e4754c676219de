"""What the main process of a worker does for the processes of its pool: it keeps their leases and hears of deaths."""
