"""Opened records in the words of others: OCPI, OCPP, CSV, S.A.F.E. Pure functions of a record's payload; nothing is recomputed.

The sealed record stays the truth: an export carries its figures, its signed readings verbatim, and moves no money.
"""
