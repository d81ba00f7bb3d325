"""Makes, changes and destroys deployments on AWS: the stack, the looks at the account before and afterwards."""
