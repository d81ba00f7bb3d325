"""What an activation gives away of its photo: attacks that are really run, and how close they come."""
