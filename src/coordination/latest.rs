//! A channel of which only the newest value waits.

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

/// The sending side. A reader that is slow misses values in between, never the last one.
#[derive(Debug)]
pub struct Latest<T> {
    sender: Sender<T>,
    waiting: Receiver<T>,
}

impl<T> Latest<T> {
    /// Both sides; the channel is disconnected when the sending side is dropped.
    pub fn channel() -> (Self, Receiver<T>) {
        let (sender, receiver) = bounded(1);
        (Self { sender, waiting: receiver.clone() }, receiver)
    }

    /// Puts `value` in the place of the one that waits, if one does. One thread sends at a time.
    pub fn send(&self, value: T) {
        let mut value = value;
        while let Err(TrySendError::Full(back)) = self.sender.try_send(value) {
            let _ = self.waiting.try_recv();
            value = back;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_value_waits_and_none_is_left_when_it_was_taken() {
        let (latest, receiver) = Latest::channel();
        for value in 0..5 {
            latest.send(value);
        }
        assert_eq!(receiver.try_recv(), Ok(4));
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
        latest.send(7);
        drop(latest);
        assert_eq!(receiver.recv(), Ok(7));
        assert!(receiver.recv().is_err());
    }
}
