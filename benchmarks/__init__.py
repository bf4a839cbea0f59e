"""What is claimed, measured: each module prints the figures it defends and writes them down."""
