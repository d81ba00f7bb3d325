"""Trains a model on people's own images. `run.py` starts it; all the others work in its child process.

folders or .npz -> pictures (pixels on disk, labels) -> parts (train, validation, test) -> fit -> artefact -> report
"""
