"""The HTTP surface: routes of the public and the admin port, and the one table of errors."""
