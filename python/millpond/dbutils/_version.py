"""The version of DBUtils whose behaviour this package has."""

__version__ = "3.2.0"
