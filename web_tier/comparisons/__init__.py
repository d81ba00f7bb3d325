"""The comparison of venues that the operator starts on a page. `comparison/` measures; here it runs and is drawn."""
