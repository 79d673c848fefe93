"""The touchscreen of the charging payment terminal: its own program, draws `Screen`s and sends touches.

It imports `terminal_app.{screens,wire,units}` and nothing else of the terminal. It decides nothing about money and
computes no sums: it turns numbers and enums into words and pixels.
"""
