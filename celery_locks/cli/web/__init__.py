"""A small page for those who would rather look: the verbs of the command line in a browser of this machine."""
