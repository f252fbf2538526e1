//! Calling a function, or a method by its name, as fast as the interpreter can.
//!
//! `PyObject_VectorcallMethod` and `PyObject_Vectorcall` belong to the stable ABI from 3.12 on. 3.11 has
//! them as well, documented and with the same signatures, so they are looked up when the module is imported;
//! where they are not found, `PyObject_CallMethodObjArgs` and its kin do the same. Measured: that one's list of arguments without a length makes
//! a call of a small method take a third longer.

use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::ffi::{self, PyObject};

/// The first argument is the function, or the method's name.
type Vectorcall = unsafe extern "C" fn(
    function: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject;

static METHOD: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());
static FUNCTION: AtomicPtr<libc::c_void> = AtomicPtr::new(null_mut());

/// Says that the place before the arguments is the callee's to use.
const OFFSET: usize = 1 << (usize::BITS - 1);

/// Looks for the functions.
pub(crate) fn prepare() {
    #[cfg(unix)]
    for (place, name) in
        [(&METHOD, c"PyObject_VectorcallMethod"), (&FUNCTION, c"PyObject_Vectorcall")]
    {
        // SAFETY: has no preconditions; the name is a C string.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // Relaxed, here and below: set when the module is imported, before anybody calls.
        place.store(found, Relaxed);
    }
}

/// `function(argument)`: a new reference, or null with the error set.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
#[inline]
pub(crate) unsafe fn apply(function: *mut PyObject, argument: *mut PyObject) -> *mut PyObject {
    let found = FUNCTION.load(Relaxed);
    if found.is_null() {
        let end = null_mut::<PyObject>();
        // SAFETY: passed on to the caller; null ends the arguments.
        return unsafe { ffi::PyObject_CallFunctionObjArgs(function, argument, end) };
    }
    // SAFETY: the function of that name.
    let vectorcall = unsafe { std::mem::transmute::<*mut libc::c_void, Vectorcall>(found) };
    let args = [null_mut(), argument];
    // SAFETY: passed on to the caller; one argument follows, and one place is before it.
    unsafe { vectorcall(function, args.as_ptr().wrapping_add(1), 1 | OFFSET, null_mut()) }
}

/// `object.name()`: a new reference, or null with the error set.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
#[inline]
pub(crate) unsafe fn call(object: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: passed on to the caller.
    unsafe { call_by_name(name, [null_mut(), object]) }
}

/// `object.name(argument)`: a new reference, or null with the error set.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached.
#[inline]
pub(crate) unsafe fn call_with(
    object: *mut PyObject,
    name: *mut PyObject,
    argument: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: passed on to the caller.
    unsafe { call_by_name(name, [null_mut(), object, argument]) }
}

/// The method of the first argument, which comes after a place that is left free.
///
/// # Safety
/// The objects are alive during the call, and the thread is attached. There are one or two arguments
/// beside the free place.
#[inline]
unsafe fn call_by_name<const N: usize>(
    name: *mut PyObject,
    args: [*mut PyObject; N],
) -> *mut PyObject {
    let found = METHOD.load(Relaxed);
    if found.is_null() {
        let argument = args.get(2).copied().unwrap_or(null_mut());
        let end = null_mut::<PyObject>();
        // SAFETY: passed on to the caller; null ends the arguments.
        return unsafe { ffi::PyObject_CallMethodObjArgs(args[1], name, argument, end) };
    }
    // SAFETY: the function of that name.
    let method = unsafe { std::mem::transmute::<*mut libc::c_void, Vectorcall>(found) };
    let first = args.as_ptr().wrapping_add(1);
    // SAFETY: passed on to the caller; so many arguments follow, and one place is before them.
    unsafe { method(name, first, (N - 1) | OFFSET, null_mut()) }
}
