//! The classes of proxies, made by hand: what the interpreter calls, and the table of it.

use std::ffi::{c_char, c_int, c_void, CStr};
use std::mem::{offset_of, size_of};
use std::ptr::{drop_in_place, null, null_mut};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::ffi::{self, PyGetSetDef, PyMemberDef, PyMethodDef, PyObject, PyTypeObject, Py_ssize_t};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::attribute;
use super::lend;
use super::proxy::{finalize, give_back, Hold, Proxy};
use crate::field::Field;
use crate::raw::{none, plain, positional, slowly, unary, Owned, Pending, Table};

static DEDICATED: AtomicPtr<PyTypeObject> = AtomicPtr::new(null_mut());
static SHARED: AtomicPtr<PyTypeObject> = AtomicPtr::new(null_mut());

/// `PooledDedicatedDBConnection`.
#[inline]
pub(super) fn dedicated() -> *mut PyTypeObject {
    // Relaxed: set when the module is imported, before anybody can ask.
    DEDICATED.load(Relaxed)
}

/// One of the two classes.
#[inline]
pub(super) fn class<const IS_SHARED: bool>() -> *mut PyTypeObject {
    if IS_SHARED {
        SHARED.load(Relaxed)
    } else {
        DEDICATED.load(Relaxed)
    }
}

/// What a proxy holds.
///
/// # Safety
/// The object is a proxy, and stays alive for `'a`.
#[inline]
pub(super) unsafe fn hold<'a>(proxy: *mut PyObject) -> &'a Hold {
    // SAFETY: passed on to the caller. `allocate` made the proxy's hold.
    unsafe { &(*proxy.cast::<Proxy>()).hold }
}

/// A new proxy that holds nothing; `None` with the exception set.
#[inline]
pub(super) fn allocate(class: *mut PyTypeObject) -> Option<Owned> {
    // SAFETY: attached, as are all callers; the class is one of ours, or derived from one.
    let proxy = unsafe { ffi::PyType_GenericAlloc(class, 0) };
    // SAFETY: a new reference, or null.
    let proxy = unsafe { Owned::new(proxy) }?;
    // SAFETY: the object is as large as `Proxy`.
    let hold = unsafe { &raw mut (*proxy.as_ptr().cast::<Proxy>()).hold };
    // SAFETY: as above; so far there are only zeros. Nothing ran since the allocation.
    unsafe { hold.write(Hold::new()) };
    Some(proxy)
}

unsafe extern "C" fn new(
    class: *mut PyTypeObject,
    _: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    allocate(class).map_or(null_mut(), Owned::into_ptr)
}

unsafe extern "C" fn init<const IS_SHARED: bool>(
    slf: *mut PyObject,
    args: *mut PyObject,
    kwargs: *mut PyObject,
) -> c_int {
    let names: [*const c_char; 3] = [c"pool".as_ptr(), c"con".as_ptr(), null()];
    let [mut pool, mut con] = [null_mut::<PyObject>(); 2];
    // SAFETY: called by the interpreter; the format has two objects, and two places follow.
    let parsed = unsafe {
        ffi::PyArg_ParseTupleAndKeywords(
            args,
            kwargs,
            c"OO:__init__".as_ptr(),
            names.as_ptr().cast_mut().cast(),
            &raw mut pool,
            &raw mut con,
        )
    };
    if parsed == 0 {
        return -1;
    }
    let done = slowly(|py| {
        // SAFETY: the interpreter's arguments, alive during the call.
        let [slf, pool, con] =
            [slf, pool, con].map(|object| unsafe { Bound::from_borrowed_ptr(py, object) });
        initialize::<IS_SHARED>(&slf, &pool, &con)?;
        Ok(py.None().into_ptr())
    });
    // SAFETY: a new reference, or null.
    unsafe { Owned::new(done) }.map_or(-1, |_| 0)
}

/// Begins the life of a proxy that Python makes.
fn initialize<const IS_SHARED: bool>(
    slf: &Bound<'_, PyAny>,
    pool: &Bound<'_, PyAny>,
    given: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = slf.py();
    // SAFETY: `slf` is a proxy, and bound.
    let hold = unsafe { hold(slf.as_ptr()) };
    hold.con.set(py, None);
    let con = if IS_SHARED { given.getattr(intern!(py, "con"))? } else { given.clone() };
    // SAFETY: attached, and bound.
    let owned = unsafe { Owned::another(con.as_ptr()) };
    let check = if IS_SHARED { lend::is_shareable } else { lend::is_safe };
    if !owned.is_some_and(|con| check(py, &con)) {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: made when the module was imported, and never freed.
    let base = unsafe { Bound::from_borrowed_ptr(py, class::<IS_SHARED>().cast()) };
    let name = intern!(py, "__getattr__");
    hold.set_plain(slf.get_type().getattr(name)?.is(&base.getattr(name)?));
    hold.begin();
    hold.pool.set(py, Some(pool.clone().unbind()));
    hold.shared.set(py, IS_SHARED.then(|| given.clone().unbind()));
    hold.con.set(py, Some(con.unbind()));
    Ok(())
}

unsafe extern "C" fn dealloc<const IS_SHARED: bool>(slf: *mut PyObject) {
    // SAFETY: called by the interpreter, with the last reference gone.
    unsafe { ffi::PyObject_GC_UnTrack(slf.cast()) };
    // SAFETY: a proxy, and nobody else has it.
    let proxy = unsafe { &mut *slf.cast::<Proxy>() };
    // SAFETY: attached.
    unsafe { finalize::<IS_SHARED>(&proxy.hold) };
    if !proxy.weakrefs.is_null() {
        // SAFETY: the class has weak references, and the object's count is zero.
        unsafe { ffi::PyObject_ClearWeakRefs(slf) };
    }
    let dict = std::mem::replace(&mut proxy.dict, null_mut());
    // SAFETY: the proxy's reference, or null.
    drop(unsafe { Owned::new(dict) });
    // SAFETY: made by `allocate`, and dropped here only. The thread is attached.
    unsafe { drop_in_place(&raw mut proxy.hold) };
    // SAFETY: alive until its memory is free.
    let class = unsafe { ffi::Py_TYPE(slf) };
    // SAFETY: allocated for the garbage collector, and used no more.
    unsafe { ffi::PyObject_GC_Del(slf.cast()) };
    // SAFETY: an instance has a reference to its class, also one of a subclass.
    unsafe { ffi::Py_DECREF(class.cast()) };
}

/// For the garbage collector, and for subclasses, whose `close` may be their own.
unsafe extern "C" fn del(slf: *mut PyObject) {
    // SAFETY: called by the interpreter.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: attached.
    let _pending = unsafe { Pending::put_aside() };
    if Owned::call(slf, intern!(py, "close")).is_none() {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() };
    }
}

unsafe extern "C" fn traverse(
    slf: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: called by the garbage collector, which has stopped all others.
    let proxy = unsafe { &*slf.cast::<Proxy>() };
    // SAFETY: a live object.
    let class = unsafe { ffi::Py_TYPE(slf) };
    for object in [class.cast(), proxy.dict] {
        // SAFETY: as the collector wants it.
        let stop = if object.is_null() { 0 } else { unsafe { visit(object, arg) } };
        if stop != 0 {
            return stop;
        }
    }
    for field in [&proxy.hold.con, &proxy.hold.pool, &proxy.hold.shared] {
        // SAFETY: as above.
        let stop = unsafe { field.visit_raw(visit, arg) };
        if stop != 0 {
            return stop;
        }
    }
    0
}

/// The collector called `del` before, so there is nothing to give back any more.
unsafe extern "C" fn clear(slf: *mut PyObject) -> c_int {
    // SAFETY: called by the garbage collector, and nobody else uses the object's dictionary meanwhile.
    let dict = unsafe { &mut (*slf.cast::<Proxy>()).dict };
    let dict = std::mem::replace(dict, null_mut());
    // SAFETY: a proxy.
    let hold = unsafe { hold(slf) };
    for field in [&hold.con, &hold.pool, &hold.shared] {
        // SAFETY: attached.
        drop(unsafe { field.take_owned() });
    }
    // SAFETY: the proxy's reference, or null.
    drop(unsafe { Owned::new(dict) });
    0
}

unsafe extern "C" fn close<const IS_SHARED: bool>(
    slf: *mut PyObject,
    _: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: a proxy, alive during the call.
    if give_back::<IS_SHARED>(py, unsafe { hold(slf) }) {
        none()
    } else {
        null_mut()
    }
}

unsafe extern "C" fn enter(slf: *mut PyObject, _: *mut PyObject) -> *mut PyObject {
    // SAFETY: attached, and alive during the call.
    unsafe { ffi::Py_NewRef(slf) }
}

unsafe extern "C" fn exit(
    slf: *mut PyObject,
    _: *mut *mut PyObject,
    _: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: called by the interpreter as a method.
    let py = unsafe { Python::assume_attached() };
    match Owned::call(slf, intern!(py, "close")) {
        Some(_) => none(),
        None => null_mut(),
    }
}

/// The field that a getter or a setter is about, by its place in `Hold`.
///
/// # Safety
/// The object is a proxy, alive for `'a`, and the place is one of `accessors`.
unsafe fn field<'a>(slf: *mut PyObject, place: *mut c_void) -> &'a Field {
    // SAFETY: passed on to the caller.
    let hold = unsafe { hold(slf) };
    match place.addr() {
        CON => &hold.con,
        POOL => &hold.pool,
        _ => &hold.shared,
    }
}

const CON: usize = 0;
const POOL: usize = 1;
const SHARED_CON: usize = 2;

unsafe extern "C" fn get_field(slf: *mut PyObject, place: *mut c_void) -> *mut PyObject {
    // SAFETY: called by the interpreter as a getter of ours.
    let field = unsafe { field(slf, place) };
    // SAFETY: attached.
    let object = unsafe { field.get_raw() };
    if object.is_null() {
        return none();
    }
    object
}

unsafe extern "C" fn set_field(
    slf: *mut PyObject,
    object: *mut PyObject,
    place: *mut c_void,
) -> c_int {
    // SAFETY: called by the interpreter as a setter of ours.
    let field = unsafe { field(slf, place) };
    // SAFETY: the caller's object, or null when the attribute is deleted.
    unsafe { ffi::Py_XINCREF(object) };
    let before = field.swap_raw(object);
    // SAFETY: the field's reference, or null.
    drop(unsafe { Owned::new(before) });
    0
}

const fn accessor(name: &'static CStr, doc: &'static CStr, place: usize) -> PyGetSetDef {
    PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get_field),
        set: Some(set_field),
        doc: doc.as_ptr(),
        closure: std::ptr::without_provenance_mut(place),
    }
}

const CON_ACCESSOR: PyGetSetDef =
    accessor(c"_con", c"The steady connection; None when it was given back.", CON);
const POOL_ACCESSOR: PyGetSetDef = accessor(c"_pool", c"The pool.", POOL);
const SHARED_ACCESSOR: PyGetSetDef =
    accessor(c"_shared_con", c"What counts the shares of the connection.", SHARED_CON);
const DICT_ACCESSOR: PyGetSetDef = PyGetSetDef {
    name: c"__dict__".as_ptr(),
    get: Some(ffi::PyObject_GenericGetDict),
    set: Some(ffi::PyObject_GenericSetDict),
    doc: null(),
    closure: null_mut(),
};
const END_OF_ACCESSORS: PyGetSetDef =
    PyGetSetDef { name: null(), get: None, set: None, doc: null(), closure: null_mut() };

// A dedicated proxy has no `_shared_con`, and asks the connection for one.
static DEDICATED_ACCESSORS: Table<PyGetSetDef, 4> =
    Table::new([CON_ACCESSOR, POOL_ACCESSOR, DICT_ACCESSOR, END_OF_ACCESSORS]);
static SHARED_ACCESSORS: Table<PyGetSetDef, 5> =
    Table::new([CON_ACCESSOR, POOL_ACCESSOR, SHARED_ACCESSOR, DICT_ACCESSOR, END_OF_ACCESSORS]);

#[allow(clippy::cast_possible_wrap, reason = "a small struct")]
const fn offset(name: *const c_char, offset: usize) -> PyMemberDef {
    let (type_code, flags) = (ffi::Py_T_PYSSIZET, ffi::Py_READONLY);
    PyMemberDef { name, type_code, offset: offset as Py_ssize_t, flags, doc: null() }
}

static MEMBERS: Table<PyMemberDef, 3> = Table::new([
    offset(c"__dictoffset__".as_ptr(), offset_of!(Proxy, dict)),
    offset(c"__weaklistoffset__".as_ptr(), offset_of!(Proxy, weakrefs)),
    PyMemberDef { name: null(), type_code: 0, offset: 0, flags: 0, doc: null() },
]);

const fn methods<const IS_SHARED: bool>() -> Table<PyMethodDef, 5> {
    Table::new([
        plain(
            c"close",
            c"close($self, /)\n--\n\nGive the connection back to the pool; again, do nothing.",
            close::<IS_SHARED>,
        ),
        plain(c"__enter__", c"__enter__($self, /)\n--\n\nReturn the proxy.", enter),
        positional(c"__exit__", c"__exit__($self, /, *exc)\n--\n\nClose the proxy.", exit),
        unary(
            c"__getattr__",
            c"__getattr__($self, name, /)\n--\n\nReturn an attribute of the steady connection.",
            attribute::getattr::<IS_SHARED>,
        ),
        PyMethodDef::zeroed(),
    ])
}

static DEDICATED_METHODS: Table<PyMethodDef, 5> = methods::<false>();
static SHARED_METHODS: Table<PyMethodDef, 5> = methods::<true>();

/// Makes one of the classes.
#[allow(clippy::fn_to_numeric_cast_any, reason = "the interpreter's table has pointers only")]
fn make<'py, const IS_SHARED: bool>(
    py: Python<'py>,
    name: &'static CStr,
    doc: &'static CStr,
) -> PyResult<Bound<'py, PyType>> {
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let (methods, accessors) = if IS_SHARED {
        (SHARED_METHODS.as_ptr(), SHARED_ACCESSORS.as_ptr())
    } else {
        (DEDICATED_METHODS.as_ptr(), DEDICATED_ACCESSORS.as_ptr())
    };
    let mut slots = [
        slot(ffi::Py_tp_new, new as *mut c_void),
        slot(ffi::Py_tp_init, init::<IS_SHARED> as *mut c_void),
        slot(ffi::Py_tp_dealloc, dealloc::<IS_SHARED> as *mut c_void),
        slot(ffi::Py_tp_finalize, del as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(ffi::Py_tp_clear, clear as *mut c_void),
        slot(ffi::Py_tp_getattro, attribute::getattro::<IS_SHARED> as *mut c_void),
        slot(ffi::Py_tp_methods, methods),
        slot(ffi::Py_tp_getset, accessors),
        slot(ffi::Py_tp_members, MEMBERS.as_ptr()),
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "a small struct, and flags that fit"
    )]
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<Proxy>() as c_int,
        itemsize: 0,
        flags: flags as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: attached. The slots are copied, and what they point to is static.
    let class = unsafe { ffi::PyType_FromSpec(&raw mut spec) };
    // SAFETY: a new reference, or null with the exception set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok(class.cast_into()?)
}

/// Adds the classes to the module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let dedicated = make::<false>(
        py,
        c"millpond.dbutils.pooled_db.PooledDedicatedDBConnection",
        c"PooledDedicatedDBConnection(pool, con)\n--\n\nA proxy for a connection that nobody else uses meanwhile.",
    )?;
    let shared = make::<true>(
        py,
        c"millpond.dbutils.pooled_db.PooledSharedDBConnection",
        c"PooledSharedDBConnection(pool, con)\n--\n\nA proxy for a connection that others may use, too.",
    )?;
    attribute::install::<false>(&dedicated)?;
    attribute::install::<true>(&shared)?;
    for (place, class) in [(&DEDICATED, dedicated), (&SHARED, shared)] {
        module.add(class.name()?, &class)?;
        // Relaxed: see `dedicated`. The class is kept for ever.
        place.store(class.into_ptr().cast(), Relaxed);
    }
    Ok(())
}
