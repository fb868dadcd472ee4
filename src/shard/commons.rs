//! What a dialect remembers of all its connections on one shard, such as what many of them wait for.

use std::any::Any;

/// One value of each type that a dialect asks for.
#[derive(Default)]
pub struct Commons(Vec<Box<dyn Any>>);

impl Commons {
    /// The value of this type, which begins as its default.
    pub fn of<T: Default + 'static>(&mut self) -> &mut T {
        let found = self.0.iter().position(|value| value.is::<T>());
        let place = found.unwrap_or_else(|| {
            self.0.push(Box::<T>::default());
            self.0.len() - 1
        });
        self.0[place].downcast_mut().expect("it was found by its type")
    }
}
