//! What each message costs its connection, its user and its address.

use std::sync::Arc;

use super::admission::counted_as;
use super::connection::Connection;
use super::{Clients, tenant};
use crate::config::{Config, Rates};
use crate::mesh::{Balance, ConnectionId, Paid, Payer, ShardIndex, Spent};
use crate::metrics::RateOf;
use crate::shard::turn::Turn;

impl Clients {
    /// Counts one message of so many bytes; when to try again if it is over a rate, which none is where those wait. Nothing of
    /// one that is refused is paid for.
    pub fn over_message_rate(&mut self, turn: &mut Turn, id: ConnectionId, bytes: usize) -> Option<u32> {
        let Config { messages_per_second_max, messages_per_minute_max, .. } = *turn.config;
        let now_us = turn.now.monotonic_us;
        let connection = tenant(&mut self.table, id)?;
        let over = connection.purse().and_then(|purse| self.budgets.is_over(turn, purse));
        let over = over.or_else(|| {
            let in_second = connection.second.count(messages_per_second_max, 1_000, now_us);
            let over = in_second.or_else(|| connection.minute.count(messages_per_minute_max, 60_000, now_us));
            over.map(|retry_after_ms| (retry_after_ms, RateOf::Connection))
        });
        if let Some((retry_after_ms, of)) = over {
            turn.metrics.count_rate_limited(of);
            return Some(retry_after_ms);
        }
        if let Some(purse) = connection.purse_mut() {
            self.budgets.pay_with(turn, purse, Paid::Messages, 1);
            self.budgets.pay_with(turn, purse, Paid::Bytes, bytes as u64);
        }
        None
    }

    /// A connection pays for the operations of a message that it may send.
    pub fn pay_for_ops(&mut self, turn: &Turn, id: ConnectionId, count: impl FnOnce() -> usize) {
        if !self.budgets.are_in_use() {
            return;
        }
        if let Some(purse) = tenant(&mut self.table, id).and_then(Connection::purse_mut) {
            self.budgets.pay_with(turn, purse, Paid::Ops, count() as u64);
        }
    }

    /// When a connection may go on that is over what it, its user or its address may send.
    pub(super) fn budget_allows_at_us(&self, turn: &Turn, connection: &Connection) -> Option<u64> {
        let (wait_ns, _) = self.budgets.next_in_ns(turn, connection.purse()?);
        (wait_ns > 0).then(|| turn.now.monotonic_us + wait_ns.div_ceil(1000))
    }

    /// A connection that opens pays from now on, and its address does.
    pub fn open_purse(&mut self, turn: &Turn, id: ConnectionId) {
        let Some(connection) = tenant(&mut self.table, id) else { return };
        let address = counted_as(connection.address, turn.config.ipv6_prefix);
        if let Some(purse) = self.budgets.open_purse(turn, address) {
            connection.of_user.get_or_insert_default().purse = Some(purse);
        }
    }

    /// Its user does, whose roles have these rates or none of their own.
    pub fn join_user(&mut self, turn: &Turn, id: ConnectionId, user: &Arc<str>, of_roles: Option<Rates>) {
        let rates = self.budgets.rates_of(of_roles);
        if let Some(connection) = tenant(&mut self.table, id) {
            let purse = &mut connection.of_user.get_or_insert_default().purse;
            self.budgets.join_user(turn, purse, user, rates);
        }
    }

    /// Nobody pays for a connection that is gone.
    pub fn close_purse(&mut self, id: ConnectionId) {
        let of_user = tenant(&mut self.table, id).and_then(|connection| connection.of_user.as_mut());
        if let Some(of_user) = of_user {
            self.budgets.close_purse(of_user.purse.take());
        }
    }

    /// The rates of a user, whose roles have these or none of their own.
    pub fn rates_of(&self, of_roles: Option<Rates>) -> Rates {
        self.budgets.rates_of(of_roles)
    }

    /// Counts a new connection of a user whose home is here.
    ///
    /// # Errors
    /// In how many milliseconds it may have one.
    pub fn count_connection_of_user(
        &mut self,
        turn: &Turn,
        user: &Arc<str>,
        rates: Rates,
    ) -> Result<(), u32> {
        self.budgets.count_connection(turn, &Payer::User(Arc::clone(user)), rates)
    }

    pub fn settle_budgets(&mut self, turn: &mut Turn) {
        self.budgets.settle(turn);
    }

    pub fn next_settled_us(&self) -> Option<u64> {
        self.budgets.next_settled_us()
    }

    pub fn budget_spent(&mut self, turn: &mut Turn, from: ShardIndex, spent: Spent) {
        self.budgets.spent(turn, from, spent);
    }

    pub fn balance_told(&mut self, turn: &Turn, balance: Balance) {
        self.budgets.balance_told(turn, balance);
    }
}
