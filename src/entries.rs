//! Tables that are made once: zeros that are not resident before they are used, and cells that loom can see.

#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(not(any(loom, shuttle)))]
use std::alloc::{Layout, alloc_zeroed, dealloc};
#[cfg(not(loom))]
use std::cell::UnsafeCell;
#[cfg(not(any(loom, shuttle)))]
use std::ptr::NonNull;

/// Entries of `T`, all of them zero.
///
/// Asking for memory that is aligned to a cache line would make the allocator write the zeros itself, and all of the
/// table resident; so it is asked for one entry more, and the entries begin at the first line.
#[cfg(not(any(loom, shuttle)))]
pub(crate) struct Entries<T> {
    first: NonNull<T>,
    len: usize,
    memory: NonNull<u8>,
    layout: Layout,
}

/// What is valid when all of its bytes are zero.
///
/// # Safety
/// As said. It also has a size and needs no drop.
pub(crate) unsafe trait Zeroed {
    /// The same for the model checkers, whose atomics are not made of bytes.
    #[cfg(any(loom, shuttle))]
    fn zeroed() -> Self;
}

#[cfg(not(any(loom, shuttle)))]
impl<T: Zeroed> Entries<T> {
    /// Nothing, if there is no memory.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let entries = Layout::array::<T>(len + 1).ok()?;
        let layout = Layout::from_size_align(entries.size(), align_of::<u64>()).ok()?;
        // SAFETY: the layout has a size, because an entry has.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let shift = memory.align_offset(align_of::<T>());
        // SAFETY: the shift is less than one entry, and one more than `len` was allocated.
        let first = unsafe { memory.add(shift) }.cast();
        Some(Self {
            first,
            len,
            memory,
            layout,
        })
    }
}

#[cfg(not(any(loom, shuttle)))]
impl<T> std::ops::Deref for Entries<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` entries from `first` on lie in the allocation, aligned, and zeros are valid for them.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

#[cfg(not(any(loom, shuttle)))]
impl<T> Drop for Entries<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

// SAFETY: it owns its entries, as a boxed slice would.
#[cfg(not(any(loom, shuttle)))]
unsafe impl<T: Send> Send for Entries<T> {}

// SAFETY: the same; all that can be had of it through a reference is a reference to the entries.
#[cfg(not(any(loom, shuttle)))]
unsafe impl<T: Sync> Sync for Entries<T> {}

#[cfg(any(loom, shuttle))]
pub(crate) struct Entries<T>(Box<[T]>);

#[cfg(any(loom, shuttle))]
impl<T: Zeroed> Entries<T> {
    pub(crate) fn new(len: usize) -> Option<Self> {
        Some(Self((0..len).map(|_| T::zeroed()).collect()))
    }
}

#[cfg(any(loom, shuttle))]
impl<T> std::ops::Deref for Entries<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// A cell whose uses loom can see.
#[repr(transparent)]
pub(crate) struct Cell<T>(UnsafeCell<T>);

impl<T> Cell<T> {
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    /// Nobody else may be in here at the same time. The pointer is valid during the call.
    #[inline(always)]
    pub(crate) unsafe fn with<R>(&self, body: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(loom)]
        {
            self.0.with_mut(body)
        }
        #[cfg(not(loom))]
        {
            body(self.0.get())
        }
    }
}
