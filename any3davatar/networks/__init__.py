"""Published networks that more than one part of this project looks through.

Each is fetched once through the user's own registry (`any3davatar.registry_files`), and loaded
strictly: a weight that is missing, or that nobody asked for, is an error.
"""
