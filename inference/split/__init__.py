"""Split inference: where a net can be cut, and the message that carries an activation from the head to the tail."""
