//! What a dialect can have a shard do in channels for a [`Caller`].

use super::forbid;
use crate::auth::rules::Action;
use crate::hooks::Before;
use crate::mesh::Since;
use crate::shard::caller::{Asked, Caller};
use crate::shard::questions::{Proposal, Proposed};
use crate::shard::{Publish, Shard};
use crate::wire::Ticket;

impl Shard {
    /// Joins a channel: the messages since then follow, then [`crate::shard::Event::Joined`], then each message as
    /// [`crate::shard::Dialect::channel_message`] puts it. Joining once more is leaving and joining.
    pub fn join_channel(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        channel: &str,
        since: Option<Since>,
    ) {
        let Self { turn, clients, maps, requests, channels, access, .. } = self;
        if !access.may_in_channel(turn, caller.grant(), Action::Subscribe, channel) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        channels.join(turn, clients, maps, requests, Asked { caller, ticket }, (channel, since));
    }

    /// Leaves a channel, if the caller is in it. Nothing more is told of it, but what it missed, and
    /// [`crate::shard::Event::Rejected`] with [`crate::wire::Reject::Cancelled`] where a request to join was under way.
    pub fn leave_channel(&mut self, caller: Caller, channel: &str) {
        let Self { turn, clients, maps, channels, .. } = self;
        channels.leave(turn, clients, maps, caller.connection(), channel);
    }

    /// Publishes a message in a channel, in which the caller need not be; [`crate::shard::Event::Placed`] follows. Those who are
    /// there are sent it, in the order of offsets. [`crate::shard::Event::Denied`] follows where the application does not want it.
    pub fn publish_in_channel(&mut self, caller: Caller, ticket: Option<Ticket>, publish: Publish<'_>) {
        let asked = Asked { caller, ticket };
        let Publish { channel, data, how } = publish;
        match self.question_before(caller, Before::Publish, || channel.into()) {
            Some(question) if self.may_publish_in(caller, channel) => {
                let what = Proposal::Publish { channel: channel.into(), how };
                self.propose(asked, question, Proposed { what, data: data.into() });
            }
            _ => self.publish_agreed(asked, publish),
        }
    }

    /// Publishes a message if rules allow it. The application has nothing against it.
    pub(in crate::shard) fn publish_agreed(&mut self, asked: Asked, publish: Publish<'_>) {
        if !self.may_publish_in(asked.caller, publish.channel) {
            return forbid(&mut self.turn, &mut self.clients, asked.caller, asked.ticket());
        }
        let Self { turn, clients, maps, requests, channels, .. } = self;
        channels.publish(turn, clients, maps, requests, asked, publish);
    }

    fn may_publish_in(&mut self, caller: Caller, channel: &str) -> bool {
        self.access.may_in_channel(&mut self.turn, caller.grant(), Action::Publish, channel)
    }

    /// Asks for the last messages of a channel before an offset; [`crate::shard::Event::History`] follows.
    pub fn channel_history(
        &mut self,
        caller: Caller,
        ticket: Option<Ticket>,
        channel: &str,
        before: Option<u64>,
        limit: u32,
    ) {
        let Self { turn, clients, maps, requests, channels, access, .. } = self;
        if !access.may_in_channel(turn, caller.grant(), Action::Subscribe, channel) {
            return forbid(turn, clients, caller, ticket.as_ref());
        }
        channels.history(turn, clients, maps, requests, Asked { caller, ticket }, (channel, before, limit));
    }
}
