//! What one connection pays with.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Buckets, Budgets, are_none, milliseconds, now_ns, paces, wait_ns};
use crate::config::Rates;
use crate::mesh::{Paid, Payer};
use crate::metrics::RateOf;
use crate::shard::turn::Turn;

/// Its own buckets, and the places of the budgets that it shares. Who need not pay for anything has none.
#[derive(Debug, Default)]
pub struct Purse {
    own: Buckets,
    user: Option<u32>,
    address: Option<u32>,
}

impl Purse {
    fn shared(&self) -> impl Iterator<Item = (RateOf, u32)> {
        let user = self.user.map(|slot| (RateOf::User, slot));
        user.into_iter().chain(self.address.map(|slot| (RateOf::Address, slot)))
    }
}

impl Budgets {
    /// What a connection from what is counted as this address pays with.
    pub fn open_purse(&mut self, turn: &Turn, address: IpAddr) -> Option<Box<Purse>> {
        let has_address = !are_none(&self.of_address);
        if are_none(&self.of_connection) && !has_address {
            return None;
        }
        self.are_in_use = true;
        let address = has_address.then(|| self.hold(turn, &Payer::Address(address), self.of_address));
        Some(Box::new(Purse { address, ..Purse::default() }))
    }

    /// A connection is one of a user with these rates, who pays from now on, too. It may have been so before.
    pub fn join_user(&mut self, turn: &Turn, purse: &mut Option<Box<Purse>>, user: &Arc<str>, rates: Rates) {
        let paces = paces(rates);
        let before = purse.as_mut().and_then(|purse| purse.user.take());
        if !are_none(&paces) {
            let slot = self.hold(turn, &Payer::User(Arc::clone(user)), paces);
            purse.get_or_insert_default().user = Some(slot);
            self.are_in_use = true;
        }
        if let Some(before) = before {
            self.release(before);
        }
    }

    /// A connection is gone.
    pub fn close_purse(&mut self, purse: Option<Box<Purse>>) {
        if let Some(purse) = purse {
            purse.shared().for_each(|(_, slot)| self.release(slot));
        }
    }

    /// Nanoseconds until a connection may send its next message, and whose rate it is over until then.
    pub fn next_in_ns(&self, turn: &Turn, purse: &Purse) -> (u64, RateOf) {
        let now_ns = now_ns(turn);
        let own = (wait_ns(&purse.own, &self.of_connection, now_ns), RateOf::Connection);
        let shared = purse.shared().map(|(of, slot)| (self.wait_ns(slot, now_ns), of));
        shared.fold(own, |longest, next| if next.0 > longest.0 { next } else { longest })
    }

    /// The same in milliseconds, if it may not send it now.
    pub fn is_over(&self, turn: &Turn, purse: &Purse) -> Option<(u32, RateOf)> {
        let (wait_ns, of) = self.next_in_ns(turn, purse);
        (wait_ns > 0).then(|| (milliseconds(wait_ns), of))
    }

    /// A connection pays.
    pub fn pay_with(&mut self, turn: &Turn, purse: &mut Purse, kind: Paid, tokens: u64) {
        let ns = self.of_connection[kind as usize].ns_of(tokens);
        purse.own[kind as usize].take_ns(ns, now_ns(turn));
        purse.shared().for_each(|(_, slot)| self.pay(turn, slot, kind, tokens));
    }
}
