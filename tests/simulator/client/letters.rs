//! Direct messages between users.

use std::collections::BTreeSet;

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::{Asked, Client, Context, Pass};
use crate::letters::{Name, name};
use crate::link::Link;

/// Codes that one may be refused with.
const CODES: [&str; 4] = ["timeout", "overloaded", "read_only", "load_failed"];

/// What one connection has been sent.
#[derive(Default)]
pub struct Mail {
    pub got: BTreeSet<Name>,
    last: Option<Name>,
}

impl Client {
    /// Sends or acknowledges one, by chance; whether it did.
    pub(super) fn write_letter(&mut self, link: &mut Link, context: &mut Context<'_>) -> bool {
        let Some(user) = self.user().map(str::to_owned).filter(|_| context.random.per_mille(60)) else {
            return false;
        };
        if context.random.per_mille(250) {
            let got: Vec<&Name> = self.mail.got.iter().collect();
            if !got.is_empty() {
                let through = context.random.pick(&got).clone();
                context.oracle.letters.acknowledged(&user, &through);
                let (epoch, offset) = through;
                self.send_text(
                    link,
                    context,
                    &format!(r#"{{"type":"direct.ack","through":"{epoch}-{offset}"}}"#),
                );
            }
            return true;
        }
        let to = Pass::user(context.random.below(context.scenario.clients) / 2);
        let is_durable = context.random.per_mille(500);
        let number = context.oracle.letters.write(&to);
        let ack = if is_durable { r#","ack":"durable""# } else { "" };
        let id = self.ask(Asked::Letter { number, is_durable });
        let text = format!(r#"{{"type":"send","id":{id},"to":"user:{to}","data":{number}{ack}}}"#);
        self.send_text(link, context, &text);
        true
    }

    /// What became of one.
    pub(super) fn letter_sent(
        &self,
        (number, is_durable): (u64, bool),
        message: &OwnedValue,
        context: &mut Context<'_>,
    ) {
        if message.get_str("status") == Some("refused") {
            match message.get_str("reason") {
                Some("denied") => context.oracle.decided.refused(&number.to_string()),
                reason => assert_eq!(reason, Some("queue_full"), "{message}"),
            }
            return;
        }
        let is_late = message.get_bool("timeout") == Some(true);
        let is_durable = is_durable && !is_late && context.scenario.config.offers_durable;
        let named = name(message.get_str("message").expect("a name"));
        context.oracle.letters.taken(number, named, is_durable);
    }

    pub(super) fn letter_refused(&self, code: &str, message: &OwnedValue) {
        assert!(CODES.contains(&code), "{message}");
    }

    /// One has come: each once, in order.
    pub(super) fn letter_arrived(&mut self, message: &OwnedValue, context: &mut Context<'_>) {
        // Also where the client has said goodbye.
        let user = self.identity.as_ref().expect("who is nobody has no messages").user.clone();
        let named = name(message.get_str("message").expect("a name"));
        let number = message.get_u64("data").expect("a number");
        context.oracle.letters.arrived(&user, &named, number);
        context.oracle.decided.told(&number.to_string(), None);
        let is_in_order = self.mail.last.as_ref().is_none_or(|last| last.0 != named.0 || last.1 < named.1);
        assert!(is_in_order, "{} was sent {named:?} after {:?}", self.name, self.mail.last);
        assert!(self.mail.got.insert(named.clone()), "{} was sent {named:?} twice", self.name);
        self.mail.last = Some(named);
    }
}
