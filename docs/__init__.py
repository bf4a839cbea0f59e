"""The pages of the project's site; site/ holds what builds and checks it."""
