//! The masking of RFC 6455 section 5.3, which every client frame has.

/// Octets per round of the wide loop: two registers of baseline x86-64, so that it is worth its set-up from
/// the shortest messages on.
const BLOCK_BYTES: usize = 32;

/// XORs `bytes` with `key`, repeated, beginning `offset` octets into it. Masks and unmasks alike.
pub(super) fn unmask(bytes: &mut [u8], mut key: [u8; 4], offset: usize) {
    key.rotate_left(offset % 4);
    let word = u32::from_ne_bytes(key);
    let double = u64::from(word) | (u64::from(word) << 32);

    let (blocks, rest) = bytes.as_chunks_mut::<BLOCK_BYTES>();
    for block in blocks {
        for octets in block.as_chunks_mut::<8>().0 {
            *octets = (u64::from_ne_bytes(*octets) ^ double).to_ne_bytes();
        }
    }
    // Blocks are whole multiples of the key, so the rest begins with its first octet again.
    let (words, rest) = rest.as_chunks_mut::<4>();
    for octets in words {
        *octets = (u32::from_ne_bytes(*octets) ^ word).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(key) {
        *octet ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 5.3, word for word.
    fn unmask_by_the_book(bytes: &mut [u8], key: [u8; 4], offset: usize) {
        for (i, octet) in bytes.iter_mut().enumerate() {
            *octet ^= key[(i + offset) % 4];
        }
    }

    // Every tail of the wide loops, at every place of the key and at every alignment of memory.
    #[test]
    fn every_length_and_offset_is_unmasked_as_by_the_book() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let original: Vec<u8> = (0..300u32).map(|i| (i * 151 % 251) as u8).collect();
        for len in 0..300 {
            for offset in 0..300 {
                let start = offset % (300 - len);
                let mut wide = original.clone();
                let mut plain = original.clone();
                unmask(&mut wide[start..start + len], key, offset);
                unmask_by_the_book(&mut plain[start..start + len], key, offset);
                assert_eq!(wide, plain, "length {len}, offset {offset}");
            }
        }
    }

    #[test]
    fn masking_twice_gives_the_bytes_back() {
        let mut bytes: Vec<u8> = (0..=255).collect();
        unmask(&mut bytes, [1, 2, 3, 4], 1);
        assert_ne!(bytes[0], 0);
        unmask(&mut bytes, [1, 2, 3, 4], 1);
        assert!((0..=255).eq(bytes));
    }
}
