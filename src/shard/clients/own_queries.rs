//! Queries that a connection has, by their subscriptions.

use std::mem;

use crate::mesh::SubscriptionRef;

/// See the module. Who has none keeps room for none.
#[derive(Debug, Default)]
pub struct OwnQueries(Option<Box<Lists>>);

/// There is at least one subscription.
#[derive(Debug, Default)]
struct Lists {
    subscriptions: Vec<SubscriptionRef>,
    /// Those of them that are to be sent all that is shown, once the outbox has drained.
    behind: Vec<SubscriptionRef>,
}

impl OwnQueries {
    pub fn subscriptions(&self) -> &[SubscriptionRef] {
        self.0.as_ref().map_or(&[], |lists| &lists.subscriptions)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn push(&mut self, subscription: SubscriptionRef) {
        self.0.get_or_insert_default().subscriptions.push(subscription);
    }

    /// Puts another subscription in the place of one.
    pub fn replace(&mut self, subscription: SubscriptionRef, other: SubscriptionRef) {
        if let Some(lists) = &mut self.0 {
            lists.behind.retain(|&behind| behind != subscription);
            lists.subscriptions.iter_mut().filter(|own| **own == subscription).for_each(|own| *own = other);
        }
    }

    pub fn remove(&mut self, subscription: SubscriptionRef) {
        if let Some(lists) = &mut self.0 {
            lists.subscriptions.retain(|&other| other != subscription);
            lists.behind.retain(|&other| other != subscription);
        }
        self.0.take_if(|lists| lists.subscriptions.is_empty());
    }

    /// Takes any.
    pub fn pop(&mut self) -> Option<SubscriptionRef> {
        let subscription = self.0.as_mut()?.subscriptions.pop();
        self.0.take_if(|lists| lists.subscriptions.is_empty());
        subscription
    }

    pub fn fall_behind(&mut self, subscription: SubscriptionRef) {
        if let Some(lists) = &mut self.0
            && !lists.behind.contains(&subscription)
        {
            lists.behind.push(subscription);
        }
    }

    pub fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(|lists| !lists.behind.is_empty())
    }

    /// Takes all that are behind.
    pub fn take_behind(&mut self) -> Vec<SubscriptionRef> {
        self.0.as_mut().map_or_else(Vec::new, |lists| mem::take(&mut lists.behind))
    }
}
