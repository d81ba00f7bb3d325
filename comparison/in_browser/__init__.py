"""Measures the page "On this device" in a headless Chromium of this machine."""
