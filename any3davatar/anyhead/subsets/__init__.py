"""One module a subset: the recipe that turns a seed into a head's folder."""
