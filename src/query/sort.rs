//! The place of an entry among others: what it is sorted by, one after the other, and its key, as bytes that compare as entries do.

/// A field that entries are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Its place among the paths of the query.
    pub path: u16,
    pub descends: bool,
}

pub(super) fn write_place<'f>(sort: &[By], field: impl Fn(u16) -> &'f [u8], key: &[u8], out: &mut Vec<u8>) {
    for by in sort {
        let start = out.len();
        out.extend_from_slice(field(by.path));
        if by.descends {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    // Entries that are alike in all of it are sorted by their keys.
    out.extend_from_slice(key);
}
