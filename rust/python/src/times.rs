//! A histogram of durations for what is counted in Python.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::snapshot;

/// The distribution of a duration. Any thread may add to it.
#[pyclass(frozen, name = "Histogram", module = "millpond._core")]
#[derive(Debug)]
pub(crate) struct Times(millpond_core::Histogram);

#[pymethods]
impl Times {
    #[new]
    fn new() -> Self {
        Self(millpond_core::Histogram::new())
    }

    /// Add a duration in seconds; what is no duration counts as 0.
    fn record(&self, seconds: f64) {
        let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.0.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many durations were added.
    #[getter]
    fn count(&self) -> u64 {
        self.0.snapshot().count()
    }

    /// Return the arguments of `TimeStats`.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        snapshot::histogram(py, &self.0.snapshot())
    }
}
