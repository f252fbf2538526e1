//! The hot parts of `millpond.dbutils`: base classes of what `DBUtils` has, whose ordinary cases never
//! enter a Python frame. Everything else is Python, in `python/millpond/dbutils/`.
//!
//! | file | idea |
//! |---|---|
//! | `pooled.rs` | `CorePooledDB`: what Python sees of a pool |
//! | `lend.rs` | its `connection` and `cache` |
//! | `place.rs` | waiting for one of its permits |
//! | `idle.rs` | its idle connections |
//! | `proxy.rs` | what `PooledDB.connection()` returns |
//! | `proxy_class.rs` | the classes of that |
//! | `attribute.rs` | attributes of that proxy that are the steady connection's |
//! | `steady.rs` | `CoreSteady`: one connection that reopens itself |
//! | `steady_hot.rs` | its methods that have to be fast |
//! | `cursor.rs` | `CoreCursor`: its cursor |
//! | `cursor_hot.rs` | how that ends, and where its attributes come from |
//! | `statement.rs` | `execute` and its kin on that cursor |
//! | `forward.rs` | attributes of that cursor that are the driver's |
//! | `call.rs` | calling Python methods from C functions |

mod attribute;
mod call;
mod cursor;
mod cursor_hot;
mod forward;
mod idle;
mod lend;
mod place;
mod pooled;
mod proxy;
mod proxy_class;
mod statement;
mod steady;
mod steady_hot;

use pyo3::prelude::*;

/// Adds the classes to the module.
pub(crate) fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    call::prepare(module.py())?;
    steady::add(module)?;
    cursor::add(module)?;
    idle::prepare(module.py())?;
    module.add_class::<pooled::CorePooledDB>()?;
    module.add_class::<place::Place>()?;
    module.add_class::<place::Watch>()?;
    lend::install(module.py())?;
    proxy_class::add(module)
}
