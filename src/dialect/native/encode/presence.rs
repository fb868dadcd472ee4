//! Who is in a room: everybody, what has changed, how many there are, a page of them.

use super::{begin_about, separate, write_about};
use crate::mesh::{Crowd, Gathered, Names, People, Person};
use crate::wire::Ticket;
use crate::wire::json::{write_integer, write_string};

/// Appends a `presence.state`: who is in a room, to one who has joined as `member`, or hears of it.
pub fn room_state(
    out: &mut Vec<u8>,
    id: Option<&Ticket>,
    (room, member): (&str, Option<&str>),
    gathered: Gathered<&[u8]>,
) {
    begin_about(out, "presence.state", id, ("room", room));
    if let Some(member) = member {
        out.extend_from_slice(b",\"member\":");
        write_string(out, member);
    }
    if let Crowd::All(all) = gathered.crowd {
        write_people(out, "members", People(all));
    }
    end(out, gathered.count);
}

/// Appends what all who hear of a room are told: a `presence.diff`, a `presence.count`, or everybody.
pub fn room_news(out: &mut Vec<u8>, room: &str, gathered: Gathered<&[u8]>) {
    match gathered.crowd {
        Crowd::All(_) => return room_state(out, None, (room, None), gathered),
        Crowd::Count => begin_about(out, "presence.count", None, ("room", room)),
        Crowd::Diff { joined, updated, left } => {
            begin_about(out, "presence.diff", None, ("room", room));
            write_people(out, "joined", People(joined));
            write_people(out, "updated", People(updated));
            out.extend_from_slice(b",\"left\":[");
            for name in Names(left) {
                separate(out);
                write_string(out, name);
            }
            out.push(b']');
        }
    }
    end(out, gathered.count);
}

/// Appends the answer to a `presence.list`.
pub fn room_list(out: &mut Vec<u8>, id: Option<&Ticket>, room: &str, people: People<'_>, has_more: bool) {
    begin_about(out, "presence.list", id, ("room", room));
    write_people(out, "members", people);
    out.extend_from_slice(if has_more { b",\"more\":true}" } else { b",\"more\":false}" });
}

/// Appends the answer to a `presence.update`.
pub fn member_updated(out: &mut Vec<u8>, id: Option<&Ticket>, room: &str) {
    write_about(out, "presence.updated", id, ("room", room));
}

/// Appends the answer to a `presence.leave`.
pub fn room_left(out: &mut Vec<u8>, id: Option<&Ticket>, room: &str) {
    write_about(out, "presence.left", id, ("room", room));
}

fn end(out: &mut Vec<u8>, count: u64) {
    out.extend_from_slice(b",\"count\":");
    write_integer(out, count);
    out.push(b'}');
}

fn write_people(out: &mut Vec<u8>, field: &str, people: People<'_>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":[");
    for person in people {
        separate(out);
        write_person(out, person);
    }
    out.push(b']');
}

fn write_person(out: &mut Vec<u8>, person: Person<'_>) {
    out.extend_from_slice(b"{\"member\":");
    write_string(out, person.name);
    out.extend_from_slice(b",\"user\":");
    match person.user() {
        Some(user) => write_string(out, user),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"connections\":");
    write_integer(out, person.connections);
    out.extend_from_slice(b",\"state\":");
    out.extend_from_slice(person.state);
    out.extend_from_slice(b",\"since\":");
    write_integer(out, person.since_ms);
    out.extend_from_slice(if person.is_away { b",\"away\":true}" } else { b",\"away\":false}" });
}
