"""Adapters: one outside system, one file, one extra. The core never imports them."""
