"""The whole system under random load while its parts fail, and the account of what it was given and answered."""
