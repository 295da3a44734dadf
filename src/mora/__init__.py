"""Places as vectors that know how people use them."""
