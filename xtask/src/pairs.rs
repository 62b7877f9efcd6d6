//! Doing things two at a time: an emulated machine keeps hardly more than one processor busy.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What another thread left behind when it panicked still counts.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does the same with each, begun in their order; what came of them, in that order too.
pub(crate) fn pairs<T: Send, U: Send>(all: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let waiting = Mutex::new(all.into_iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = locked(&waiting).next();
                    let Some((number, one)) = next else { break };
                    let outcome = work(one);
                    locked(&done).insert(number, outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_each_is_in_their_order() {
        assert_eq!(pairs((0..50).collect(), |number: u32| number * 2)[49], 98);
        assert!(pairs(Vec::<u32>::new(), |number| number).is_empty());
    }
}
