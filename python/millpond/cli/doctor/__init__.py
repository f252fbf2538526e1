"""``millpond doctor``: the command line of `millpond.doctor`.

_command        what to look at in, findings or JSON out
_outside        what there is beside files: servers, loads, errors, processes
_print          findings, and a rule's page, for people
"""
