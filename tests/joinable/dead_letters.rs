//! Messages that come back too often.

use steadfast::Reason;

use crate::{bytes_with, drain, small};

#[test]
fn after_its_last_attempt_a_message_is_a_dead_letter_and_done_for_join() {
    let (_name, queue) = bytes_with("dead", &small().max_deliveries(2));
    queue.put(b"poison").unwrap();
    queue.put(b"fine").unwrap();
    queue.get().unwrap().nack().unwrap();
    queue.get().unwrap().release().unwrap(); // does not count
    let lease = queue.get().unwrap();
    assert_eq!((lease.value().unwrap(), lease.attempt()), (b"poison".to_vec(), 2));
    let sequence = lease.sequence();
    drop(lease);
    assert_eq!(drain(&queue), [b"fine"]);
    queue.join().unwrap();
    let letters = queue.dead_letters().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].bytes[..], letters[0].sequence), (&b"poison"[..], sequence));
    assert_eq!((letters[0].attempts, letters[0].reason), (2, Reason::Dropped));

    assert_eq!(queue.redrive().unwrap(), 1);
    assert_eq!(queue.unfinished().unwrap(), 1);
    assert!(queue.dead_letters().unwrap().is_empty());
    let lease = queue.get().unwrap();
    assert_eq!((lease.attempt(), lease.last_reason()), (1, Reason::Never));
    lease.nack().unwrap();
    queue.get().unwrap().nack().unwrap();
    assert_eq!(queue.purge().unwrap(), 1);
    assert_eq!(queue.purge().unwrap(), 0);
    assert_eq!((queue.unfinished().unwrap(), queue.redrive().unwrap()), (0, 0));
}

#[test]
fn only_so_many_dead_letters_are_kept_and_the_oldest_go() {
    let (_name, queue) = bytes_with("few", &small().max_deliveries(1).max_dead_letters(3));
    for item in 0..10_u8 {
        queue.put(&[item]).unwrap();
    }
    for _ in 0..10 {
        queue.get().unwrap().nack().unwrap();
    }
    let letters: Vec<_> = queue.dead_letters().unwrap().into_iter().map(|l| l.bytes).collect();
    assert_eq!(letters, [[7], [8], [9]]);
    // their space is free again
    let rest = vec![0; queue.max_len() - 4 * 64];
    queue.purge().unwrap();
    queue.try_put(&rest).unwrap();
}
