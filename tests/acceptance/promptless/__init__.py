"""A folder that stands before the installed packages when a worker is started."""
