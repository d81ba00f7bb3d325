"""What `shoal deploy` makes on AWS, read from `ami/stack.yaml`. Makes no call."""
