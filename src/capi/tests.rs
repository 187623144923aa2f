//! What the C suites cannot provoke: a panic inside a call.

use super::bucket::*;
use super::chain::*;
use super::chained::*;
use super::fair::*;
use super::faired::*;
use super::limit::*;
use super::limiter::*;
use super::permits::*;
use super::stats::*;
use super::*;
use std::ffi::CStr;

const REQUESTS: llmrl_limit = llmrl_limit {
    kind: LLMRL_TOKEN_BUCKET,
    meter: LLMRL_REQUESTS,
    amount: 100,
    period_ns: 0,
    burst: 0,
    flags: 0,
    resolution: 0,
    resets_in_ns: 0,
    input_weight: 0,
    output_weight: 0,
    cached_weight: 0,
    cache_write_weight: 0,
};

const ONE: llmrl_cost = llmrl_cost {
    requests: 1,
    input_tokens: 0,
    output_tokens: 0,
    cached_tokens: 0,
    cache_write_tokens: 0,
    reserved: [0; 3],
};

fn limiter() -> *mut llmrl_limiter {
    let mut limiter = ptr::null_mut();
    // SAFETY: every pointer is valid or null.
    let status = unsafe {
        llmrl_limiter_new(
            &REQUESTS,
            1,
            ptr::null(),
            0,
            &mut limiter,
            ptr::null_mut(),
            0,
        )
    };
    assert_eq!(status, LLMRL_OK);
    limiter
}

fn bucket() -> *mut llmrl_bucket {
    let mut bucket = ptr::null_mut();
    // SAFETY: every pointer is valid or null.
    let status =
        unsafe { llmrl_bucket_new(&REQUESTS, ptr::null(), &mut bucket, ptr::null_mut(), 0) };
    assert_eq!(status, LLMRL_OK);
    bucket
}

#[test]
fn a_panic_closes_the_limiter() {
    let l = limiter();
    // SAFETY: the limiter is live, and is not used after it has been freed.
    unsafe {
        let mut permit = 0;
        assert_eq!(
            llmrl_try_acquire(l, &ONE, &mut permit, ptr::null_mut()),
            LLMRL_OK
        );
        // What a panic payload may do at worst.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                // Without a payload of its own, which would be leaked.
                std::panic::resume_unwind(Box::new(()));
            }
        }
        let status = with_limiter(l, |_| std::panic::panic_any(Bomb));
        assert_eq!(status, LLMRL_ERR_PANIC);
        let after = llmrl_try_acquire(l, &ONE, &mut permit, ptr::null_mut());
        assert_eq!(after, LLMRL_ERR_CLOSED);
        assert_eq!(llmrl_settle(l, permit, &ONE), LLMRL_OK);
        llmrl_limiter_free(l);
    }
}

#[test]
fn a_panic_gives_the_number_back() {
    let l = limiter();
    // SAFETY: as above.
    unsafe {
        let mut permit = 0;
        assert_eq!(
            llmrl_try_acquire(l, &ONE, &mut permit, ptr::null_mut()),
            LLMRL_OK
        );
        let status = with_limiter(l, |l| {
            let _claim = l.table.claim_held(permit)?;
            panic!("in the middle");
        });
        assert_eq!(status, LLMRL_ERR_PANIC);
        assert_eq!(llmrl_cancel(l, permit), LLMRL_ERR_STALE);
        llmrl_limiter_free(l);
    }
}

#[test]
fn a_panic_leaves_other_objects_alone() {
    let b = bucket();
    // SAFETY: as above.
    unsafe {
        assert_eq!(with(b, |_| panic!("in a bucket")), LLMRL_ERR_PANIC);
        assert_eq!(llmrl_bucket_try_take(b, 1, ptr::null_mut()), LLMRL_OK);
        llmrl_bucket_free(b);
    }
}

#[test]
fn a_panic_in_a_chain_closes_its_limiters() {
    let l = limiter();
    let (mut c, mut out) = (ptr::null_mut(), llmrl_chained::default());
    // SAFETY: as above.
    unsafe {
        let (none, silent) = (ptr::null(), ptr::null_mut());
        assert_eq!(
            llmrl_chain_new(&l.cast_const(), 1, none, 0, &mut c, silent, 0),
            LLMRL_OK
        );
        let status = with(c, |_| panic!("in a chain"));
        assert_eq!(status, LLMRL_ERR_PANIC);
        let size = size_of_val(&out);
        let after = llmrl_chain_try_acquire(c, &ONE, &mut out, size);
        assert_eq!(after, LLMRL_ERR_CLOSED);
        assert_eq!(
            llmrl_try_acquire(l, &ONE, ptr::null_mut(), ptr::null_mut()),
            LLMRL_ERR_CLOSED
        );
        llmrl_chain_free(c);
        llmrl_limiter_free(l);
    }
}

#[test]
fn a_panic_in_a_fair_queue_closes_its_limiter() {
    let l = limiter();
    let (mut f, mut permit) = (ptr::null_mut(), 0);
    // SAFETY: as above.
    unsafe {
        let (none, silent) = (ptr::null(), ptr::null_mut());
        let status = llmrl_fair_new(l, none, 0, &mut f, silent, 0);
        assert_eq!(status, LLMRL_OK);
        let status = with_kept(f, |_| panic!("in a fair queue"));
        assert_eq!(status, LLMRL_ERR_PANIC);
        let after = llmrl_fair_try_acquire(f, &ONE, &mut permit, ptr::null_mut());
        assert_eq!(after, LLMRL_ERR_CLOSED);
        llmrl_fair_free(f);
        llmrl_limiter_free(l);
    }
}

#[test]
fn a_refusal_without_end_is_no_error() {
    let b = bucket();
    // SAFETY: as above.
    unsafe {
        assert_eq!(llmrl_bucket_pause(b, LLMRL_FOREVER), LLMRL_OK);
        let mut wait = 0;
        assert_eq!(llmrl_bucket_try_take(b, 1, &mut wait), LLMRL_REFUSED);
        assert_eq!(wait, LLMRL_FOREVER);
        assert_eq!(
            llmrl_bucket_try_take(b, 101, ptr::null_mut()),
            LLMRL_ERR_NEVER
        );
        llmrl_bucket_free(b);
    }
}

#[test]
fn an_object_of_another_kind_is_told_apart() {
    let l = limiter();
    // SAFETY: the memory of a limiter can be read as far as its magic word, wherever another object has its own.
    unsafe {
        assert_eq!(
            with(l.cast::<super::clock::llmrl_clock>(), |_| Ok(LLMRL_OK)),
            LLMRL_ERR_HANDLE
        );
        assert_eq!(
            with(l.cast::<u8>().add(1).cast::<llmrl_bucket>(), |_| Ok(
                LLMRL_OK
            )),
            LLMRL_ERR_HANDLE
        );
        llmrl_limiter_free(l);
    }
}

/// Read from the sources, so that no object can be left out.
#[test]
fn each_kind_of_object_has_a_magic_word_of_its_own() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/capi");
    let mut words = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let said = text.lines().filter_map(|line| {
            let word = line.trim().strip_prefix("const MAGIC: u64 = ")?;
            Some(word.to_owned())
        });
        words.extend(said);
    }
    let objects = words.len();
    assert!(objects >= 8, "{words:?}");
    words.sort();
    words.dedup();
    assert_eq!(words.len(), objects, "{words:?}");
}

#[test]
fn extensible_structs() {
    let full: Vec<u8> = (1..=200).collect();
    let stats = size_of::<llmrl_stats>();
    let read = |bytes: &[u8]| {
        // SAFETY: as many bytes as are said.
        unsafe { copy_in::<llmrl_stats>(bytes.as_ptr().cast(), bytes.len()) }
    };
    for size in 1..=full.len() {
        let whole = read(&full[..size]);
        assert_eq!(whole.is_ok(), size <= stats, "{size}");
        if let Ok(value) = whole {
            let mut back = vec![0xee; size + 9];
            // SAFETY: as many bytes as are said.
            let status = unsafe { copy_out(back.as_mut_ptr().cast(), size, &value) };
            assert_eq!(status, Ok(LLMRL_OK));
            assert_eq!(back[..size], full[..size]);
            assert!(back[size..].iter().all(|&byte| byte == 0xee), "{size}");
        }
    }
    assert_eq!(read(&[]).err(), Some(LLMRL_ERR_SIZE));
    assert_eq!(read(&[0; MAX_STRUCT + 1]).err(), Some(LLMRL_ERR_SIZE));
    let mut longer = vec![0; MAX_STRUCT];
    longer[..stats].copy_from_slice(&full[..stats]);
    assert!(read(&longer).is_ok());
    let value = read(&full[..stats]).unwrap();
    // SAFETY: as many bytes as are said.
    let status = unsafe { copy_out(longer.as_mut_ptr().cast(), MAX_STRUCT, &value) };
    assert_eq!(status, Ok(LLMRL_OK));
    assert!(longer[stats..].iter().all(|&byte| byte == 0));
}

#[test]
fn messages_are_cut_and_terminated() {
    let text = "limits[0].größe";
    for size in 0..text.len() + 3 {
        let mut buffer = vec![0x55u8; text.len() + 4];
        // SAFETY: the buffer is larger than said.
        let explained = unsafe { Message::new(buffer.as_mut_ptr().cast(), size).explain(7, text) };
        assert_eq!(explained, 7);
        assert!(buffer[size..].iter().all(|&byte| byte == 0x55));
        if size > 0 {
            let read = CStr::from_bytes_until_nul(&buffer[..size]).unwrap();
            let read = read.to_str().expect("no half characters");
            assert!(text.starts_with(read) && read.len() + 2 >= size.min(text.len() + 1));
        }
    }
}

#[test]
fn waits_are_never_forever_by_accident() {
    assert_eq!(wait_ns(None), LLMRL_FOREVER);
    assert_eq!(wait_ns(Some(Duration::MAX)), LLMRL_FOREVER - 1);
    assert_eq!(wait_ns(Some(Duration::from_nanos(5))), 5);
    assert_eq!(timeout(LLMRL_FOREVER), None);
    assert_eq!(timeout(0), Some(Duration::ZERO));
}
