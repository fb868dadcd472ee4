//! Direct messages as text, and who has had which.
//!
//! Invariant: what one receiver is sent comes from one sender and is numbered from 0, so that the next number is the only
//! one that may come.

use super::users::Users;
use crate::failure::{Failure, excerpt};
use crate::json::{self, Malformed};
use crate::message::{Message, begin, write_field};
use crate::value::{Stamp, Values};

/// Builds requests in one buffer that is used again and again.
#[derive(Default)]
pub struct Request {
    text: Vec<u8>,
}

impl Request {
    pub fn send(&mut self, id: u64, to: &str, values: &Values, stamp: Stamp) -> &[u8] {
        begin(&mut self.text, "send", id);
        write_field(&mut self.text, "to", &[b"user:", to.as_bytes()]);
        self.text.extend_from_slice(br#","data":"#);
        values.write(&mut self.text, stamp);
        self.close()
    }

    /// All up to that message have arrived.
    pub fn acknowledge(&mut self, id: u64, through: &[u8]) -> &[u8] {
        begin(&mut self.text, "direct.ack", id);
        write_field(&mut self.text, "through", &[through]);
        self.close()
    }

    fn close(&mut self) -> &[u8] {
        self.text.push(b'}');
        &self.text
    }
}

/// What one receiver has had.
#[derive(Clone, Debug, Default)]
pub struct Had {
    /// Messages, and those of them whose acknowledgement was answered.
    pub count: u64,
    pub acked: u64,
    /// Acknowledgements that were asked for; how many messages the last was about.
    pub asked: u64,
    /// The last message, as the server calls it.
    pub last: Vec<u8>,
}

/// The fields of a `sent` or a `direct` that [`Message`] has not.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a> {
    message: &'a [u8],
    from: &'a [u8],
    data: &'a [u8],
    status: &'a [u8],
    queued: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Failure> {
        let mut fields = Self::default();
        json::each_field(text, |name, raw| {
            match name {
                b"message" => fields.message = json::plain_string(raw).ok_or(Malformed)?,
                b"from" => fields.from = json::plain_string(raw).ok_or(Malformed)?,
                b"status" => fields.status = json::plain_string(raw).ok_or(Malformed)?,
                b"data" => fields.data = raw,
                b"queued" => fields.queued = raw,
                _ => {}
            }
            Ok::<(), Malformed>(())
        })?;
        Ok(fields)
    }
}

/// Checks that this is the answer to a `send`, and returns its id.
///
/// # Errors
/// [`Failure::Refused`] for a message that was not taken, [`Failure::Wrong`] for another status than `status` or no answer.
pub fn expect_sent(text: &[u8], status: &str) -> Result<u64, Failure> {
    let message = Message::read(text)?;
    message.expect("sent")?;
    let fields = Fields::read(text)?;
    match (fields.status, message.id) {
        (b"refused", _) => Err(Failure::Refused(format!("a message was refused: {}", excerpt(text)))),
        (is, Some(id)) if is == status.as_bytes() && !fields.message.is_empty() => Ok(id),
        _ => Err(Failure::Wrong(format!("a message was to be {status}: {}", excerpt(text)))),
    }
}

impl Had {
    /// Takes a `direct`. `sent`: how many were sent to it; `queued`: whether they are to have waited, where that is sure.
    ///
    /// # Errors
    /// [`Failure::Lost`], [`Failure::Duplicated`] or [`Failure::OutOfOrder`] for another than the next, [`Failure::Wrong`] for
    /// what nobody sent.
    pub fn take(
        &mut self,
        text: &[u8],
        (users, receiver): (&Users, usize),
        values: &Values,
        sent: u64,
        queued: Option<bool>,
    ) -> Result<(), Failure> {
        let fields = Fields::read(text)?;
        let stamp = values.read(fields.data)?;
        let sender = &users.names[users.sender_to(receiver)];
        let waited = fields.queued == b"true";
        if stamp.writer as usize != receiver
            || fields.from != sender.as_bytes()
            || fields.message.is_empty()
            || queued.is_some_and(|queued| queued != waited)
        {
            return Err(Failure::Wrong(format!("receiver {receiver} got {}", excerpt(text))));
        }
        let (next, sequence) = (self.count, stamp.sequence);
        if sequence >= sent {
            return Err(Failure::Wrong(format!("receiver {receiver}: message {sequence} was never sent")));
        }
        if sequence < next {
            return Err(Failure::Duplicated(format!("receiver {receiver}: message {sequence} came again")));
        }
        if sequence > next {
            return Err(Failure::OutOfOrder(format!(
                "receiver {receiver}: message {sequence} came before {next}, or that is lost"
            )));
        }
        self.count += 1;
        self.last.clear();
        self.last.extend_from_slice(fields.message);
        Ok(())
    }

    /// Takes the answer to the acknowledgement of that many messages.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for one that nobody waits for.
    pub fn acked(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        match message.id {
            Some(id) if id > self.acked && id <= self.asked => {
                self.acked = id;
                Ok(())
            }
            id => Err(Failure::Wrong(format!("the acknowledgement of {id:?} messages was answered"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(sequence: u64, queued: bool) -> String {
        format!(
            r#"{{"type":"direct","message":"m-{sequence}","from":"s-r-0","data":"000001.{sequence:010x}.","time":1,"queued":{queued}}}"#
        )
    }

    #[test]
    fn only_the_next_message_is_taken() {
        let (users, values) = (Users::new("r", 1, 2), Values::new(20));
        let mut had = Had::default();
        let mut take = |text: String| had.take(text.as_bytes(), (&users, 1), &values, 5, Some(true));
        assert!(matches!(take(direct(1, true)), Err(Failure::OutOfOrder(_))));
        assert!(take(direct(0, true)).is_ok() && take(direct(1, true)).is_ok());
        assert!(matches!(take(direct(1, true)), Err(Failure::Duplicated(_))));
        assert!(matches!(take(direct(2, false)), Err(Failure::Wrong(_))), "it has waited");
        assert!(matches!(take(direct(5, true)), Err(Failure::Wrong(_))), "it was never sent");
        assert!(matches!(take(direct(2, true).replace("s-r-0", "s-r-1")), Err(Failure::Wrong(_))));
    }

    #[test]
    fn answer_to_a_send_has_the_status_that_is_owed() {
        let sent = |status: &str| format!(r#"{{"type":"sent","id":8,"message":"m-1","status":"{status}"}}"#);
        assert_eq!(expect_sent(sent("queued").as_bytes(), "queued").unwrap(), 8);
        assert!(matches!(expect_sent(sent("delivered").as_bytes(), "queued"), Err(Failure::Wrong(_))));
        assert!(matches!(expect_sent(sent("refused").as_bytes(), "queued"), Err(Failure::Refused(_))));
    }
}
