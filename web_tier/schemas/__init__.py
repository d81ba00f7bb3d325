"""The shapes and limits of the API, declared once: requests are checked by them, and openapi.json shows them. Pure."""
