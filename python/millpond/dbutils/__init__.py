"""DBUtils' pools on millpond's core: change the import, or call `install()` and change nothing."""

from millpond.dbutils._install import install
from millpond.dbutils._version import __version__

__all__ = ["__version__", "install"]
