"""What makes the site: Sphinx's configuration, pages written from the code, and a link check."""
