"""RQ jobs in real workers, on a private Redis."""
