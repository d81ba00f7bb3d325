"""The simulator: what a scaling policy would have cost, and how late it would have been, on a recorded or made day.

It drives the real reconciler and the real policies with a clock that is set by hand.
"""
