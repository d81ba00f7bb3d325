"""Bulk runs for the page and the API: who may start which, how far each is, and its rows."""
