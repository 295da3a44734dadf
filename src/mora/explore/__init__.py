"""Ways to look at embedded places."""
