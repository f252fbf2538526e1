//! The hot parts of `millpond.dbutils`: base classes of what DBUtils has, whose ordinary cases never
//! enter a Python frame. Everything else is Python, in `python/millpond/dbutils/`.
//!
//! | file | idea |
//! |---|---|
//! | `pooled.rs` | `CorePooledDB`: permits, waiting, idle connections |
//! | `proxy.rs` | what `PooledDB.connection()` returns |
//! | `steady.rs` | `CoreSteady`: one connection that reopens itself |
//! | `cursor.rs` | `CoreCursor`: its cursor |

use pyo3::prelude::*;

/// Adds the classes to the module.
pub(crate) fn install(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
