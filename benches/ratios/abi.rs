//! The C interface as its users get it: the shared library, opened at run time.

use llmrl::capi::limit::{llmrl_cost, llmrl_limit};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;

type BucketNew = unsafe extern "C" fn(
    *const llmrl_limit,
    *const c_void,
    *mut *mut c_void,
    *mut c_char,
    usize,
) -> c_int;
type LimiterNew = unsafe extern "C" fn(
    *const llmrl_limit,
    usize,
    *const c_void,
    usize,
    *mut *mut c_void,
    *mut c_char,
    usize,
) -> c_int;
type TryTake = unsafe extern "C" fn(*const c_void, u64, *mut u64) -> c_int;
type TryAcquire =
    unsafe extern "C" fn(*const c_void, *const llmrl_cost, *mut u64, *mut u64) -> c_int;
type Release = unsafe extern "C" fn(*const c_void, u64) -> c_int;

/// The functions that are measured.
pub struct Library {
    bucket_new: BucketNew,
    limiter_new: LimiterNew,
    bucket_try_take: TryTake,
    try_acquire: TryAcquire,
    release: Release,
}

impl Library {
    /// Beside this program, where cargo puts it, or what `LLMRL_LIBRARY` names.
    pub fn open() -> Result<Self, String> {
        let name = format!(
            "{}llmrl{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        );
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let beside = program
            .parent()
            .into_iter()
            .flat_map(|deps| [Some(deps), deps.parent()]);
        let beside = beside.flatten().map(|folder| folder.join(&name));
        let named = std::env::var_os("LLMRL_LIBRARY").map(PathBuf::from);
        let newest = beside
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .max();
        let path = named
            .or(newest.map(|(_, path)| path))
            .ok_or(format!("no {name}"))?;
        let path =
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: a path with its zero. The library stays open for as long as the process runs.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(format!("{} cannot be opened", path.to_string_lossy()));
        }
        let symbol = |name: &CStr| {
            // SAFETY: an open library and a name with its zero.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            match symbol.is_null() {
                true => Err(format!("no {}", name.to_string_lossy())),
                false => Ok(symbol),
            }
        };
        // SAFETY: the types are those of the header.
        unsafe {
            Ok(Self {
                bucket_new: std::mem::transmute::<*mut c_void, BucketNew>(symbol(
                    c"llmrl_bucket_new",
                )?),
                limiter_new: std::mem::transmute::<*mut c_void, LimiterNew>(symbol(
                    c"llmrl_limiter_new",
                )?),
                bucket_try_take: std::mem::transmute::<*mut c_void, TryTake>(symbol(
                    c"llmrl_bucket_try_take",
                )?),
                try_acquire: std::mem::transmute::<*mut c_void, TryAcquire>(symbol(
                    c"llmrl_try_acquire",
                )?),
                release: std::mem::transmute::<*mut c_void, Release>(symbol(c"llmrl_release")?),
            })
        }
    }

    /// A bare bucket; it lives for as long as the process.
    pub fn bucket(&self, limit: llmrl_limit) -> Bucket<'_> {
        let mut bucket = std::ptr::null_mut();
        // SAFETY: as the header says; no clock is the machine's.
        let status = unsafe {
            (self.bucket_new)(
                &limit,
                std::ptr::null(),
                &mut bucket,
                std::ptr::null_mut(),
                0,
            )
        };
        assert_eq!(status, 0, "llmrl_bucket_new");
        Bucket(self, bucket)
    }

    /// A limiter; it lives for as long as the process.
    pub fn limiter(&self, limits: &[llmrl_limit]) -> Limiter<'_> {
        let mut limiter = std::ptr::null_mut();
        let nothing = std::ptr::null();
        // SAFETY: as the header says; no options are the defaults.
        let status = unsafe {
            let message = std::ptr::null_mut();
            (self.limiter_new)(
                limits.as_ptr(),
                limits.len(),
                nothing,
                0,
                &mut limiter,
                message,
                0,
            )
        };
        assert_eq!(status, 0, "llmrl_limiter_new");
        Limiter(self, limiter)
    }
}

pub struct Bucket<'a>(&'a Library, *mut c_void);

// SAFETY: the library's objects may be used from any thread at any time.
unsafe impl Sync for Bucket<'_> {}

impl Bucket<'_> {
    #[inline(always)]
    pub fn try_take(&self, n: u64) -> bool {
        // SAFETY: a live bucket; where to write a wait may be null.
        unsafe { (self.0.bucket_try_take)(self.1, n, std::ptr::null_mut()) == 0 }
    }

    /// Says how long to wait, 0 if it has taken.
    #[inline(always)]
    pub fn wait_for(&self, n: u64) -> u64 {
        let mut wait = 0;
        // SAFETY: a live bucket, and where to write a wait.
        unsafe { (self.0.bucket_try_take)(self.1, n, &mut wait) };
        wait
    }
}

pub struct Limiter<'a>(&'a Library, *mut c_void);

// SAFETY: the library's objects may be used from any thread at any time.
unsafe impl Sync for Limiter<'_> {}

impl Limiter<'_> {
    /// Without a permit, for limiters without an in-flight limit.
    #[inline(always)]
    pub fn try_acquire(&self, cost: &llmrl_cost) -> bool {
        let nothing = std::ptr::null_mut();
        // SAFETY: a live limiter and a cost; the rest may be null.
        unsafe { (self.0.try_acquire)(self.1, cost, nothing, nothing) == 0 }
    }

    #[inline(always)]
    pub fn acquire_and_release(&self, cost: &llmrl_cost) -> bool {
        let mut permit = 0;
        // SAFETY: a live limiter, a cost and where to write the permit.
        unsafe {
            (self.0.try_acquire)(self.1, cost, &mut permit, std::ptr::null_mut()) == 0
                && (self.0.release)(self.1, permit) == 0
        }
    }
}
