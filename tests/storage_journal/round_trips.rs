//! Every kind of record and image is read as it was written, whatever its content.

use annulus::crdt::{Delta, Node, Stamp, Time};
use annulus::handover::{
    Batch, Body, Fault, Image, Kind, decode_delta, encode_delta, read_record, seal, set_mark, write_mark,
};

use crate::content::{Change, DELTA_KINDS, KINDS, of_delta};
use crate::random::each_seed;

#[test]
fn records_are_read_as_they_were_written() {
    each_seed(200, |random| {
        let salt = random.next() as u32;
        let first = random.next() >> 1;
        let mut batch = Batch::default();
        let changes: Vec<_> = (0..KINDS * 3)
            .map(|index| {
                let applied = Time::from_bits(random.next());
                Change::of_kind(index % KINDS, random, applied)
            })
            .collect();
        changes.iter().for_each(|change| change.push_to(&mut batch));
        assert_eq!(batch.records as usize, changes.len());
        assert_eq!(Some(batch.last_applied), changes.iter().map(|change| change.applied).max());
        assert_eq!(seal(&mut batch.bytes, first, salt), first + changes.len() as u64);
        let mut rest = &batch.bytes[..];
        for (index, change) in changes.iter().enumerate() {
            let record = read_record(rest, salt).unwrap();
            assert_eq!(record.sequence, first + index as u64);
            assert_eq!(Change::of(&record).as_ref(), Some(change));
            rest = &rest[record.bytes..];
        }
        assert_eq!(read_record(rest, salt), Err(Fault::Cut));
        assert_eq!(read_record(&batch.bytes, salt ^ 1), Err(Fault::Checksum), "of another segment");
    });
}

#[test]
fn the_bytes_of_a_record_and_an_image_are_as_the_page_draws_them() {
    let at = Stamp { time: Time::from_bits(0x0102), node: Node::new(b"n1").unwrap() };
    let delta = Delta::OrAdd { tag: "tag", value: b"\"v\"", at };
    let body = [&[2, 1, 0, 0, 0, 0, 0, 0, 2][..], b"n1", &[3], b"tag", b"\"v\""].concat();
    let mut batch = Batch::default();
    batch.push("map", b"key", &delta, Time::from_bits(0x0304));
    seal(&mut batch.bytes, 0x0506, 0);
    let crc = batch.bytes[4..8].to_vec();
    let length = [24 + 3 + 3 + body.len() as u8, 0, 0, 0];
    let numbers = [6, 5, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0];
    let kind_and_lengths = [5, 0, 3, 0, 3, 0, 0, 0];
    let record = [&length, &crc[..], &numbers, &kind_and_lengths, b"mapkey", &body].concat();
    assert_eq!(batch.bytes, record);

    let mut image = Vec::new();
    Image::begin(&mut image, Time::from_bits(1)).push(&delta, Time::from_bits(2));
    let applied = |tick| [tick, 0, 0, 0, 0, 0, 0, 0];
    let part = [&[5, body.len() as u8, 0, 0, 0][..], &applied(2), &body].concat();
    assert_eq!(image, [&applied(1)[..], &part].concat());
}

#[test]
fn a_mark_says_what_it_was_last_given() {
    let mut bytes = Vec::new();
    write_mark(&mut bytes, 7);
    let written_later = bytes.clone();
    set_mark(&mut bytes, 8);
    assert_ne!(bytes, written_later);
    assert_eq!(seal(&mut bytes, 9, 1), 10);
    let record = read_record(&bytes, 1).unwrap();
    assert_eq!((record.sequence, record.body), (9, Body::Mark { synced_through: 8 }));
}

#[test]
fn a_record_with_any_bit_changed_or_any_end_cut_is_none() {
    each_seed(20, |random| {
        let mut batch = Batch::default();
        Change::random(random, Time::from_bits(5)).push_to(&mut batch);
        seal(&mut batch.bytes, 1, 99);
        for bit in 0..batch.bytes.len() * 8 {
            let mut bytes = batch.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read_record(&bytes, 99).is_err(), "bit {bit}");
        }
        for len in 0..batch.bytes.len() {
            assert!(read_record(&batch.bytes[..len], 99).is_err(), "{len} bytes");
        }
    });
}

#[test]
fn images_are_read_as_they_were_written() {
    each_seed(200, |random| {
        let mut bytes = b"before".to_vec();
        let applied = Time::from_bits(random.next());
        let changes: Vec<_> = (0..random.below(8))
            .map(|_| {
                let (kind, applied) = (1 + random.below(DELTA_KINDS), Time::from_bits(random.next()));
                Change::of_kind(kind, random, applied)
            })
            .collect();
        let mut image = Image::begin(&mut bytes, applied);
        for change in &changes {
            image.push(&change.delta().unwrap(), change.applied);
        }
        let (found_applied, parts) = Image::parts(&bytes[6..]).unwrap();
        assert_eq!(found_applied, applied);
        let parts: Vec<_> = parts.map(Result::unwrap).collect();
        assert_eq!(parts.len(), changes.len());
        for (part, change) in parts.iter().zip(&changes) {
            assert_eq!((part.applied, of_delta(&part.delta)), (change.applied, change.what.clone()));
        }
    });
}

#[test]
fn a_cut_image_is_an_error_and_never_a_shorter_one() {
    each_seed(50, |random| {
        let mut bytes = Vec::new();
        let mut image = Image::begin(&mut bytes, Time::from_bits(1));
        let mut ends = vec![8];
        for _ in 0..3 {
            let kind = 1 + random.below(DELTA_KINDS);
            let change = Change::of_kind(kind, random, Time::from_bits(2));
            image.push(&change.delta().unwrap(), change.applied);
            let mut alone = Vec::new();
            encode_delta(&mut alone, &change.delta().unwrap());
            ends.push(ends[ends.len() - 1] + 13 + alone.len());
        }
        assert_eq!(ends[3], bytes.len());
        for len in 0..bytes.len() {
            let Ok((_, parts)) = Image::parts(&bytes[..len]) else {
                assert!(len < 8);
                continue;
            };
            let parts: Vec<_> = parts.collect();
            let whole = ends.iter().filter(|&&end| end <= len).count() - 1;
            assert_eq!(parts.iter().filter(|part| part.is_ok()).count(), whole);
            assert_eq!(parts.last().is_some_and(Result::is_err), !ends.contains(&len), "{len} bytes");
        }
    });
}

#[test]
fn random_bytes_are_no_delta_or_one_that_stays_as_it_is() {
    let kinds = (0..=u8::MAX).filter_map(Kind::from_byte).collect::<Vec<_>>();
    assert_eq!(kinds.len(), 10);
    each_seed(5_000, |random| {
        let len = random.below(60);
        let bytes = random.bytes(len);
        for &kind in &kinds {
            let Some(delta) = decode_delta(kind, &bytes) else { continue };
            assert_eq!(Kind::of(&delta), kind);
            let mut again = Vec::new();
            encode_delta(&mut again, &delta);
            assert_eq!(again, bytes, "{kind:?}");
        }
    });
}
