"""DBUtils' pools on millpond's core: change the import, or call `install()` and change nothing.

```python
from millpond.dbutils import PooledDB  # instead of: from dbutils.pooled_db import PooledDB
```

The modules are those of DBUtils: `pooled_db`, `steady_db`, `persistent_db` and `simple_pooled_db`
for any DB-API 2 driver; `pooled_pg`, `steady_pg`, `persistent_pg` and `simple_pooled_pg` for
PyGreSQL's classic interface, which import ``pg``.
"""

from millpond.dbutils._install import install
from millpond.dbutils._version import __version__
from millpond.dbutils.persistent_db import PersistentDB, PersistentDBError
from millpond.dbutils.pooled_db import (
    InvalidConnectionError,
    NotSupportedError,
    PooledDB,
    PooledDBError,
    PooledDedicatedDBConnection,
    PooledSharedDBConnection,
    SharedDBConnection,
    TooManyConnectionsError,
)
from millpond.dbutils.steady_db import (
    InvalidCursorError,
    SteadyDBConnection,
    SteadyDBCursor,
    SteadyDBError,
    connect,
)

__all__ = [
    "InvalidConnectionError",
    "InvalidCursorError",
    "NotSupportedError",
    "PersistentDB",
    "PersistentDBError",
    "PooledDB",
    "PooledDBError",
    "PooledDedicatedDBConnection",
    "PooledSharedDBConnection",
    "SharedDBConnection",
    "SteadyDBConnection",
    "SteadyDBCursor",
    "SteadyDBError",
    "TooManyConnectionsError",
    "__version__",
    "connect",
    "install",
]
