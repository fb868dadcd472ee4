//! A client of SyncKit as a client like the others: what it has to say goes over its connection.

use super::SyncKit;
use crate::client::{Client, Context};
use crate::frames::{BINARY, TEXT};
use crate::link::Link;

impl Client {
    /// A client that speaks SyncKit.
    pub fn of_synckit(index: usize, is_sdk: bool) -> Self {
        let client = Self::new(index);
        Self { synckit: Some(SyncKit::new(&client.name, is_sdk)), ..client }
    }

    /// Lets a client of SyncKit act, and sends what it has to say.
    pub fn with_synckit(
        &mut self,
        link: &mut Link,
        context: &mut Context<'_>,
        act: impl FnOnce(&mut SyncKit, &mut Context<'_>),
    ) {
        let Some(synckit) = &mut self.synckit else { return };
        act(synckit, context);
        let (is_text, messages) = synckit.take_outgoing();
        for message in messages {
            self.send_message(link, context, if is_text { TEXT } else { BINARY }, &message);
        }
    }

    /// Requests without an answer.
    pub fn asked(&self) -> usize {
        self.asked.len() + self.synckit.as_ref().map_or(0, SyncKit::asked)
    }

    /// Maps it is subscribed to.
    pub fn subscriptions(&self) -> usize {
        self.watches.len() + self.lists.count() + self.synckit.as_ref().map_or(0, SyncKit::subscriptions)
    }
}
