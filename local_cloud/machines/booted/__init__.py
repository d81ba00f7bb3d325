"""Instances that are machines: a whole Debian that systemd boots, in namespaces of its own."""
