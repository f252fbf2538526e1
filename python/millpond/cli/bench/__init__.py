"""``millpond bench``: the same work on millpond and on every other pool.

_command        options in; table, JSON and files out
_vary           one parameter takes several values
_compare        workloads on millpond and on every peer, which take turns
_workload       what the threads do     _tasks       the same with asyncio's tasks
_measurement    what is counted         _crew        threads that can always be left behind
_peers          the pools: each cut down to acquire, release, connection, close
_async_peers    those for asyncio       _machine     what they ran on
_report         all results, as plain values
_recommend      which value to take     _baseline    what is worse than it was
_words          how results are written
_table          the report for people
_html           the report as a page    _plots       its plots
"""
