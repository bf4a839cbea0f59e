"""Reports: one HTML file each, which needs no script, no network and no server to be read."""
