"""A cloud that lies and fails the way the real one does: off unless asked for, from a seed, every fault counted.

Whoever signs with the access key id HONEST is spared and told the truth: somebody must be able to look at what is.
"""

HONEST = "honest"
