"""The commands that plan, make, change and destroy a Shoal on AWS; one file a command, and what they share."""
