"""``millpond top``: pools while they work.

_command        options in, frames out, until somebody presses q
_feed           each server is asked by a thread of its own
_view           what is looked at, and what each key does to it
_frame          the list                _columns     its columns
_detail         one pool                _keys        the keyboard
"""
