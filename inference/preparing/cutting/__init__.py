"""Cuts a Keras net: measures its cuts, and makes head and tail of one. A child process runs it, for TensorFlow."""
