"""`python controller.py` starts the controller daemon."""

from controller.__main__ import main

main()
