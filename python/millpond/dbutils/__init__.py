"""DBUtils' pools on millpond's core: change the import, or call `install()` and change nothing."""

__version__ = "3.2.0"
