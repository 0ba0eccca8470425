//! The survivor's side of one queue: every call is timed, and none may take for ever.

use std::time::{Duration, Instant};

use steadfast::{Consumer, GetError, Producer, Queue};

use crate::peer::BOUND;

/// Bytes queues are what is swept.
pub type Bytes = Queue<[u8]>;

/// A queue, and the roles without which this one cannot be used.
pub struct Hands {
    /// The queue itself.
    pub queue: Bytes,
    /// The producer's role, if the queue has one and it is ours.
    pub producer: Option<Producer<[u8]>>,
    /// The consumer's role, if the queue has one and it is ours.
    pub consumer: Option<Consumer<[u8]>>,
    /// Use the calls without a time limit (the watchdog is theirs).
    pub patient: bool,
    /// The longest call since this was last set to zero.
    pub slowest: Duration,
}

impl Hands {
    /// Hands without roles.
    pub fn new(queue: Bytes) -> Hands {
        Hands { queue, producer: None, consumer: None, patient: false, slowest: Duration::ZERO }
    }

    fn timed<T>(&mut self, call: impl FnOnce(&mut Hands) -> T) -> T {
        let start = Instant::now();
        let result = call(self);
        self.slowest = self.slowest.max(start.elapsed());
        result
    }

    /// Puts a message.
    pub fn put(&mut self, message: &[u8]) -> Result<(), String> {
        let result = self.timed(|hands| match (&mut hands.producer, hands.patient) {
            (Some(producer), true) => producer.put(message),
            (Some(producer), false) => producer.put_timeout(message, BOUND),
            (None, true) => hands.queue.put(message),
            (None, false) => hands.queue.put_timeout(message, BOUND),
        });
        result.map_err(|error| format!("a survivor's put: {error:?}"))
    }

    /// Gets a message, which should be there.
    pub fn get(&mut self) -> Result<Vec<u8>, String> {
        let result = self.timed(|hands| match (&mut hands.consumer, hands.patient) {
            (Some(consumer), true) => consumer.get(),
            (Some(consumer), false) => consumer.get_timeout(BOUND),
            (None, true) => hands.queue.get(),
            (None, false) => hands.queue.get_timeout(BOUND),
        });
        result.map_err(|error| format!("a survivor's get: {error:?}"))
    }

    /// Gets a message if there is one.
    pub fn try_get(&mut self) -> Result<Option<Vec<u8>>, String> {
        let result = self.timed(|hands| match &mut hands.consumer {
            Some(consumer) => consumer.try_get(),
            None => hands.queue.try_get(),
        });
        match result {
            Ok(message) => Ok(Some(message)),
            Err(GetError::Empty) => Ok(None),
            Err(error) => Err(format!("a survivor's try_get: {error:?}")),
        }
    }

    /// Gets up to `max` messages, of which there should be one.
    pub fn get_many(&mut self, max: usize) -> Result<Vec<Vec<u8>>, String> {
        let result = self.timed(|hands| match &mut hands.consumer {
            Some(consumer) => consumer.get_many(max),
            None => hands.queue.get_many(max),
        });
        result.map_err(|error| format!("a survivor's get_many: {error:?}"))
    }

    /// Claims the roles that nobody has any more.
    pub fn claim(&mut self, producer: bool, consumer: bool) -> Result<(), String> {
        if producer && self.producer.is_none() {
            let claimed = self.queue.producer();
            self.producer = Some(claimed.map_err(|error| format!("claim the producer: {error}"))?);
        }
        if consumer && self.consumer.is_none() {
            let claimed = self.queue.consumer();
            self.consumer = Some(claimed.map_err(|error| format!("claim the consumer: {error}"))?);
        }
        Ok(())
    }

    /// `qsize`.
    pub fn len(&self) -> Result<usize, String> {
        self.queue.qsize().map_err(|error| format!("a survivor's qsize: {error}"))
    }

    /// `is_empty`.
    pub fn is_empty(&self) -> Result<bool, String> {
        self.queue.is_empty().map_err(|error| format!("a survivor's is_empty: {error}"))
    }
}
