"""Makes what browsers run ready: the program, from npm, and a model in few bits, in a child process for TensorFlow."""
