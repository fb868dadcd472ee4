//! Going on with another configuration. What counts from when on is in `docs/admin.md`, "Settings".

use std::sync::Arc;

use super::Shard;
use crate::config::Config;

impl Shard {
    /// From now on this counts. Only what is hot may differ from before: whoever asks has seen to that.
    pub(super) fn configure(&mut self, config: Arc<Config>) {
        let Self { turn, clients, directory, .. } = self;
        turn.configure(config);
        clients.configure(turn);
        directory.configure(&turn.config);
    }
}
