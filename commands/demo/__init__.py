"""`taskgraft demo`: the whole road on MovieLens-100K, step by step."""
