"""Texts written for this project: the local classifiers train on them beside the public sets."""
