"""Being a Space: the demo Space and its painter."""
