//! The canonical form of a plain value whose names are out of order, as they are in what `JSON.stringify` makes of most objects,
//! or that has spaces: the same text in another order, without the parser.
//!
//! Invariant: what is written is what `canonical.rs` writes of the same value.

use super::Plain;

/// Nesting, beyond which the parser does it: what is in an object is read once more at each level.
const DEPTH_MAX: usize = 4;
/// Members of an object.
const MEMBERS_MAX: usize = 16;

/// A member as it was sent.
#[derive(Clone, Copy, Default)]
struct Member<'a> {
    name: &'a str,
    value: &'a str,
    is_canonical: bool,
}

/// Appends the canonical form of one value; `None`, and nothing was appended, if it takes more than to put names in order.
pub fn write_sorted(json: &str, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let written = write_value(json, out, DEPTH_MAX);
    if written.is_none() {
        out.truncate(start);
    }
    written
}

/// Writes a value that is not canonical as it is.
fn write_value(json: &str, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match json.as_bytes().first()? {
        b'{' => write_object(json, out, depth),
        b'[' => write_array(json, out, depth),
        _ => None,
    }
}

fn write_array(json: &str, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    out.push(b'[');
    let start = out.len();
    Plain::new(json).elements(|plain| {
        let element = plain.value()?;
        if out.len() > start {
            out.push(b',');
        }
        write_part(element.json, element.is_canonical, out, depth)
    })?;
    out.push(b']');
    Some(())
}

fn write_object(json: &str, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let mut members = [Member::default(); MEMBERS_MAX];
    let mut count = 0;
    Plain::new(json).members(|plain| {
        let (name, value) = (plain.name()?, plain.value()?);
        *members.get_mut(count)? = Member { name, value: value.json, is_canonical: value.is_canonical };
        count += 1;
        Some(())
    })?;
    let members = &mut members[..count];
    // Stable, so that of equal names the one that was sent last comes last.
    members.sort_by(|left, right| left.name.cmp(right.name));
    out.push(b'{');
    let start = out.len();
    for (index, member) in members.iter().enumerate() {
        if members.get(index + 1).is_some_and(|next| next.name == member.name) {
            continue;
        }
        out.extend_from_slice(if out.len() > start { b",\"" } else { b"\"" });
        out.extend_from_slice(member.name.as_bytes());
        out.extend_from_slice(b"\":");
        write_part(member.value, member.is_canonical, out, depth)?;
    }
    out.push(b'}');
    Some(())
}

fn write_part(json: &str, is_canonical: bool, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    if is_canonical {
        out.extend_from_slice(json.as_bytes());
        return Some(());
    }
    write_value(json, out, depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(json: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        let written = write_sorted(json, &mut out);
        let out = String::from_utf8(out).unwrap();
        let rest = out.strip_prefix("before").unwrap().to_owned();
        assert!(written.is_some() || rest.is_empty(), "{json} has left {rest}");
        written.map(|()| rest)
    }

    #[test]
    fn names_are_put_in_order_at_each_level_and_spaces_left_out() {
        for (json, expected) in [
            ("[1, 2]", "[1,2]"),
            (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
            ("{\"😀\":1,\"\u{FF5E}\":2}", "{\"\u{FF5E}\":2,\"😀\":1}"),
            (r#"[[[{"b":1,"a":[]}]]]"#, r#"[[[{"a":[],"b":1}]]]"#),
            (
                r#"{"b":{"d":{"f":{"h":1,"g":2},"e":3},"c":4},"a":5}"#,
                r#"{"a":5,"b":{"c":4,"d":{"e":3,"f":{"g":2,"h":1}}}}"#,
            ),
        ] {
            assert_eq!(sorted(json).as_deref(), Some(expected), "{json}");
        }
    }

    // What is in an object is read once more at each level, and each object is kept on the stack.
    #[test]
    fn what_is_nested_deeper_or_has_more_members_is_left_to_the_parser() {
        let object = |members: usize| {
            let members: Vec<String> = (0..members).rev().map(|n| format!(r#""{n:02}":0"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        let within = |levels: usize, inner: &str| "[0, ".repeat(levels) + inner + &"]".repeat(levels);
        assert!(sorted(&within(3, &object(16))).is_some());
        assert_eq!(sorted(&within(4, &object(16))), None);
        assert_eq!(sorted(&within(2, &object(17))), None);
    }
}
