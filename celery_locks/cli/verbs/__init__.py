"""The verbs, a module each. `group` finds them by name."""
