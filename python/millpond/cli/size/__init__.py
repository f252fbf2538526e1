"""``millpond size``: how large a pool should be, and why.

_command        options in, table or JSON out
_advice         all sizes, the one to take
_facts          what is asked for them
"""
