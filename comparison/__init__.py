"""Compares the venues, on a user's own photos: which one to use, and from how many images a day on.

lane: a venue together with the size in which photos are sent to it. A round sends every photo once through each lane.
"""
