//! SipHash-1-3, the keyed hash that the standard library's maps use, too: whoever does not know the secret cannot find keys
//! that meet. Written out here to be compiled into the look-up, of which std's takes half of the time.

use std::hash::{BuildHasher, RandomState};

/// What nobody else knows.
pub(super) struct Secret {
    text: [u64; 2],
    numbers: [u64; 2],
}

impl Secret {
    /// Another one for each map.
    pub(super) fn new() -> Self {
        #[cfg(not(any(loom, shuttle)))]
        let random = RandomState::new();
        // The model checkers run the same again and again, so they can have none.
        #[cfg(any(loom, shuttle))]
        let random = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        let [a, b, c, d] = [0u64, 1, 2, 3].map(|n| random.hash_one(n));
        Self {
            text: [a, b],
            numbers: [c, d],
        }
    }

    #[inline(always)]
    pub(super) fn number(&self, number: u64) -> u64 {
        let mut state = State::new(self.numbers);
        state.add(number);
        state.end(8, 0)
    }

    #[inline]
    pub(super) fn text(&self, bytes: &[u8]) -> u64 {
        let mut state = State::new(self.text);
        let (words, rest) = bytes.as_chunks();
        for &word in words {
            state.add(u64::from_le_bytes(word));
        }
        let rest = rest.iter().rev();
        state.end(
            bytes.len(),
            rest.fold(0, |rest, &byte| rest << 8 | u64::from(byte)),
        )
    }
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn new([k0, k1]: [u64; 2]) -> Self {
        Self([
            k0 ^ u64::from_be_bytes(*b"somepseu"),
            k1 ^ u64::from_be_bytes(*b"dorandom"),
            k0 ^ u64::from_be_bytes(*b"lygenera"),
            k1 ^ u64::from_be_bytes(*b"tedbytes"),
        ])
    }

    #[inline(always)]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32).wrapping_add(*d);
        *c = c.wrapping_add(*b);
        *d = d.rotate_left(21) ^ *a;
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    /// `rest` are the bytes of an unfinished word.
    #[inline(always)]
    fn end(mut self, len: usize, rest: u64) -> u64 {
        self.add((len as u64) << 56 | rest);
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    /// That of the standard library is this one, under a secret of zeros.
    #[test]
    fn it_is_the_hash_that_it_is_said_to_be() {
        let secret = Secret {
            text: [0; 2],
            numbers: [0; 2],
        };
        let bytes: Vec<u8> = (0u8..100).map(|n| n.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let mut theirs = DefaultHasher::new();
            theirs.write(&bytes[..len]);
            assert_eq!(secret.text(&bytes[..len]), theirs.finish(), "{len}");
        }
        for number in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(secret.number(number), secret.text(&number.to_le_bytes()));
        }
    }

    #[test]
    fn all_of_the_secret_counts() {
        let hash = |text| {
            Secret {
                text,
                numbers: text,
            }
            .text(b"key")
        };
        let hashes = [hash([0, 0]), hash([1, 0]), hash([0, 1]), hash([1, 1])];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash));
        }
        let (one, other) = (Secret::new(), Secret::new());
        assert_ne!(one.text(b"key"), other.text(b"key"));
        assert_ne!(one.number(7), other.number(7));
        assert_ne!(one.number(7), one.text(&7u64.to_le_bytes()));
    }
}
