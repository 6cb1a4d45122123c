"""What is stored, byte by byte: bindings, envelopes, value encodings, padding.

Pure functions: no I/O, no ORM, no key look-up. ``docs/format.md`` is the normative text;
``tests/vectors/`` holds its golden examples. In the order a value meets them::

    codecs    Python value  <->  type byte ‖ value
    padding   hides the exact length where a field asks for it
    binding   the place a value belongs to, as authenticated bytes (AAD)
    envelope  seal() and open_sealed(): AES-256-GCM under a subject key
"""
