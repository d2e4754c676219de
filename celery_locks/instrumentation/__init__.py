"""From events to what an operator reads."""
