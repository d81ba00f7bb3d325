"""Who may use the page: the names it answers to, the sites that may send to it, and the operator's sessions."""
