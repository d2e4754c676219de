"""`top`: who holds what, live.

`reading` asks the store, `state` is all that the view knows and what a pressed key does, `drawing` makes a picture of
that, and `screen` brings these together at a terminal. Only the last two need rich.
"""
