"""Trains the weights of the local classifiers: `python -m training`. Not part of the installed package."""
