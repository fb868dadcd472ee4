//! What a dialect remembers of all its connections on one shard, such as what many of them wait for.

use std::any::Any;

/// Place of a dialect in [`super::Shared::dialects`].
pub type DialectIndex = u8;

/// One value of each type that a dialect asks for, and who has something to go on with.
#[derive(Default)]
pub struct Commons {
    values: Vec<Box<dyn Any>>,
    to_go_on: Vec<DialectIndex>,
}

impl Commons {
    /// The value of this type, which begins as its default.
    pub fn of<T: Default + 'static>(&mut self) -> &mut T {
        let found = self.values.iter().position(|value| value.is::<T>());
        let place = found.unwrap_or_else(|| {
            self.values.push(Box::<T>::default());
            self.values.len() - 1
        });
        self.values[place].downcast_mut().expect("it was found by its type")
    }

    /// The same if it has begun.
    pub fn begun<T: 'static>(&self) -> Option<&T> {
        self.values.iter().find_map(|value| value.downcast_ref())
    }

    /// Has [`super::Dialect::go_on`] called at the end of this turn, or of the next if that has passed.
    pub fn go_on(&mut self, dialect: DialectIndex) {
        if !self.to_go_on.contains(&dialect) {
            self.to_go_on.push(dialect);
        }
    }

    /// Whether any dialect has something to go on with.
    pub fn has_to_go_on(&self) -> bool {
        !self.to_go_on.is_empty()
    }

    /// Takes the dialects that have something to go on with.
    pub fn take_to_go_on(&mut self) -> Vec<DialectIndex> {
        std::mem::take(&mut self.to_go_on)
    }
}
