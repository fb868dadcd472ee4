//! A queue that hardly any connection has anything in: it takes a pointer until it has.

use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "each connection has a place for it, where three words less are worth one hop"
)]
pub struct Seldom<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Seldom<T> {
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn front(&self) -> Option<&T> {
        self.0.as_ref()?.front()
    }

    pub fn push_front(&mut self, item: T) {
        self.0.get_or_insert_default().push_front(item);
    }

    pub fn push_back(&mut self, item: T) {
        self.0.get_or_insert_default().push_back(item);
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.0.as_mut()?.pop_front();
        self.forget_nothing();
        item
    }

    pub fn retain(&mut self, keeps: impl FnMut(&T) -> bool) {
        if let Some(items) = &mut self.0 {
            items.retain(keeps);
        }
        self.forget_nothing();
    }

    fn forget_nothing(&mut self) {
        self.0.take_if(|items| items.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_queue_and_nothing_once_it_is_empty() {
        let mut queue = Seldom::default();
        queue.push_back(2);
        queue.push_front(1);
        queue.push_back(3);
        queue.retain(|item| *item != 2);
        assert_eq!(
            (queue.front().copied(), queue.pop_front(), queue.pop_front()),
            (Some(1), Some(1), Some(3))
        );
        assert!(queue.is_empty() && queue.pop_front().is_none());
    }
}
