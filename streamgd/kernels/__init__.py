"""Rules of one row and the loops over rows: each written once, for dense, sparse and dict input."""
