//! Attributes of a steady cursor that are those of the driver's cursor, found without an `AttributeError`.
//!
//! `SteadyDBCursor.__getattr__` is asked only after an `AttributeError` was made and thrown away, which
//! takes longer than many a statement. So the commonest names are descriptors. They do not set, so what
//! is written to an instance, and what a subclass defines, comes first. A subclass with a `__getattr__`
//! or a `_get_tough_method` of its own is asked instead: then they raise that `AttributeError`.

use std::ffi::{c_int, c_uint, CStr};
use std::ptr::null_mut;

use pyo3::exceptions::{PyAttributeError, PyIndexError};
use pyo3::ffi::{self, PyObject, PyType_Slot, PyType_Spec};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};
use pyo3::PyTypeInfo;

use super::cursor::CoreCursor;
use super::statement::TOUGH;
use crate::raw::{receiver, slowly};

/// The methods of `TOUGH`, in its order.
const METHODS: [&str; 3] = ["execute", "executemany", "callproc"];

/// PEP 249's attributes, and the commonest extensions.
const ATTRIBUTES: [&str; 14] = [
    "arraysize",
    "connection",
    "description",
    "fetchall",
    "fetchmany",
    "fetchone",
    "lastrowid",
    "messages",
    "mogrify",
    "nextset",
    "rowcount",
    "rownumber",
    "scroll",
    "statusmessage",
];

/// An attribute of a cursor by its name. The class that is used is derived from this one by hand, since
/// the trampoline of a PyO3 `__get__` takes as long as all the rest.
#[pyclass(frozen, subclass, module = "millpond._core")]
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: Py<PyString>,
    /// Its index in `TOUGH`, or none for an attribute of the driver's.
    method: Option<usize>,
}

#[pymethods]
impl Attribute {
    #[new]
    fn new(name: Py<PyString>, method: Option<usize>) -> PyResult<Self> {
        if method.is_some_and(|index| index >= METHODS.len()) {
            return Err(PyIndexError::new_err("no such method"));
        }
        Ok(Self { name, method })
    }
}

unsafe extern "C" fn get(
    slf: *mut PyObject,
    object: *mut PyObject,
    class: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a slot of a class that is derived from Attribute.
    let attribute = unsafe { receiver::<Attribute>(slf) };
    let expected = CoreCursor::type_object_raw(attribute.py());
    // SAFETY: attached; the object is alive during the call.
    if object.is_null() || unsafe { ffi::PyObject_TypeCheck(object, expected) } == 0 {
        return missing(&attribute, class);
    }
    // SAFETY: just checked.
    let cursor = unsafe { receiver::<CoreCursor>(object) }.get();
    if !cursor.is_plain() {
        return missing(&attribute, class);
    }
    // SAFETY: the receiver is the object.
    let raw = unsafe { cursor.valid(object) };
    if raw.is_null() {
        return raw;
    }
    let attribute = attribute.get();
    let found = match attribute.method {
        // SAFETY: attached; the definition lives for ever, and a cursor is what its function expects.
        Some(index) => unsafe {
            ffi::PyCFunction_NewEx(TOUGH.definition(index), object, null_mut())
        },
        // SAFETY: attached; we own a reference to the driver's cursor.
        None => unsafe { ffi::PyObject_GetAttr(raw, attribute.name.as_ptr()) },
    };
    // SAFETY: our reference. Should it be the last, finalizers keep an error that is set.
    unsafe { ffi::Py_DecRef(raw) };
    found
}

/// As if there were no such attribute. Of an instance, `__getattr__` is asked next.
#[cold]
pub(super) fn missing(attribute: &Bound<'_, Attribute>, class: *mut PyObject) -> *mut PyObject {
    slowly(|py| {
        let name = attribute.get().name.bind(py);
        // SAFETY: null, or alive during the call.
        let class = unsafe { Bound::<PyAny>::from_borrowed_ptr_or_opt(py, class) };
        let owner = match class.as_ref().and_then(|class| class.cast::<PyType>().ok()) {
            Some(class) => class.name()?.to_string(),
            None => "object".to_owned(),
        };
        let message = format!("type object '{owner}' has no attribute '{name}'");
        Err(PyAttributeError::new_err(message))
    })
}

/// A class of descriptors that find an attribute by this function.
pub(super) fn descriptor_class(
    py: Python<'_>,
    get: ffi::descrgetfunc,
) -> PyResult<Bound<'_, PyType>> {
    let name: &'static CStr = c"millpond._core.Attribute";
    let mut slots = [
        PyType_Slot { slot: ffi::Py_tp_descr_get, pfunc: get as *mut _ },
        PyType_Slot { slot: 0, pfunc: null_mut() },
    ];
    let mut spec = PyType_Spec {
        name: name.as_ptr(),
        basicsize: 0 as c_int, // as the base
        itemsize: 0,
        flags: c_uint::try_from(ffi::Py_TPFLAGS_DEFAULT)?,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [py.get_type::<Attribute>()])?;
    // SAFETY: attached. The specification is copied; the name and the function are static.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: a new reference, or null with the error set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok(class.cast_into()?)
}

/// Puts the descriptors into the class of cursors.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let class = descriptor_class(py, get)?;
    let cursor = py.get_type::<CoreCursor>();
    for (index, name) in METHODS.iter().enumerate() {
        cursor.setattr(*name, class.call1((name, index))?)?;
    }
    for name in ATTRIBUTES {
        cursor.setattr(name, class.call1((name, None::<usize>))?)?;
    }
    Ok(())
}
