"""What an image file says besides its pixels, and what can be read of a file that is not whole."""
