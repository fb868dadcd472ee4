//! `[[channel]]`: what channels keep of what was said. It is about names and no one's rights.

use serde::Deserialize;

use super::Rules;
use super::file::BadRules;
use super::pattern::{Pattern, Template};
use crate::config::{Bytes, ChannelBounds, Span};
use crate::limits::{CHANNEL_HISTORY_MAX, TTL_MS_MAX};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelEntry {
    name: String,
    history: Option<u32>,
    bytes: Option<Bytes>,
    ttl: Option<Span>,
    durable: Option<bool>,
}

/// What stands in the file for the channels of some names.
#[derive(Debug)]
pub(super) struct ChannelRule {
    names: Pattern,
    messages: Option<usize>,
    bytes: Option<usize>,
    ttl_ms: Option<u64>,
    is_durable: Option<bool>,
}

impl ChannelEntry {
    /// # Errors
    /// [`BadRules`]; `entry` is its place in the file, from 1.
    pub(super) fn compile(self, entry: usize) -> Result<ChannelRule, BadRules> {
        let bad = |what| Err(BadRules::Channel { entry, what });
        let names = Template::parse(&self.name).ok().and_then(|template| template.fixed());
        let Some(names) = names else {
            return bad("name is a pattern such as \"chat:*\", without braces");
        };
        if self.history.is_some_and(|history| history > CHANNEL_HISTORY_MAX) {
            return bad("history is at most 1000000 messages");
        }
        if self.ttl.is_some_and(|ttl| ttl.ms == 0 || ttl.ms > TTL_MS_MAX) {
            return bad("ttl is more than nothing and at most ten years");
        }
        Ok(ChannelRule {
            names,
            messages: self.history.map(|history| history as usize),
            bytes: self.bytes.map(|bytes| bytes.0),
            ttl_ms: self.ttl.map(|ttl| ttl.ms),
            is_durable: self.durable,
        })
    }
}

const _: () = assert!(CHANNEL_HISTORY_MAX == 1_000_000);

impl Rules {
    /// How many entries there are about channels.
    pub const fn channels(&self) -> usize {
        self.channels.len()
    }

    /// How much is kept of a channel of this name: what the first entry that is about it says, and else as by `default`.
    pub fn channel_bounds(&self, name: &str, default: ChannelBounds) -> ChannelBounds {
        let Some(rule) = self.channels.iter().find(|rule| rule.names.matches(name)) else { return default };
        ChannelBounds {
            messages: rule.messages.unwrap_or(default.messages),
            bytes: rule.bytes.unwrap_or(default.bytes),
            ttl_ms: rule.ttl_ms.unwrap_or(default.ttl_ms),
            is_durable: rule.is_durable.unwrap_or(default.is_durable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_is_about_a_channel_counts() {
        let text = "[[channel]]\nname = \"chat:vip:*\"\ndurable = true\n\
                    [[channel]]\nname = \"chat:**\"\nhistory = 7\nttl = \"7d\"\nbytes = \"64KiB\"";
        let rules = Rules::parse(text).expect("rules");
        let default = ChannelBounds::default();
        let of = |name| rules.channel_bounds(name, default);
        assert_eq!(of("chat:vip:1"), ChannelBounds { is_durable: true, ..default });
        let chat = ChannelBounds { messages: 7, ttl_ms: 7 * 86_400_000, bytes: 64 << 10, ..default };
        assert_eq!((of("chat:1"), of("news")), (chat, default));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, part) in [
            ("name = \"chat:{user.id}\"", "channel 1: name"),
            ("name = \"\"", "channel 1: name"),
            ("name = \"a\"\nhistory = 1000001", "channel 1: history"),
            ("name = \"a\"\nttl = \"0s\"", "channel 1: ttl"),
            ("name = \"a\"\nttl = \"7\"", "30d"),
            ("name = \"a\"\nbytes = \"1MB\"", "64KiB"),
            ("name = \"a\"\nhistroy = 1", "unknown field"),
            ("history = 1", "name"),
        ] {
            let error = Rules::parse(&format!("[[channel]]\n{text}")).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
