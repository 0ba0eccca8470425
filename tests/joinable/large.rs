//! Large messages of a plain queue, and messages written in place.

use steadfast::{GetError, PutError, Queue, QueueOptions};

use crate::{SHORT, bytes, drain, support};

fn large(tag: &str, options: QueueOptions) -> (support::Name, Queue) {
    let name = support::Name::new(tag);
    let queue = Queue::create(&name, &options.capacity(4096)).unwrap();
    (name, queue)
}

#[test]
fn messages_of_all_sizes_keep_their_order() {
    let (_name, queue) = large("sizes", QueueOptions::new().large_messages(1 << 20));
    assert_eq!(queue.max_len(), (1 << 20) - 48);
    let mut rng = support::Rng::new(1);
    for _ in 0..300 {
        let items: Vec<Vec<u8>> = (0..rng.below(5))
            .map(|_| {
                let len = [3, 511, 512, 513, 70_000][rng.below(5) as usize] + rng.below(9);
                rng.bytes(len as usize)
            })
            .collect();
        if rng.below(2) == 0 {
            queue.try_put_many(&items).unwrap();
        } else {
            items.iter().for_each(|item| queue.try_put(item).unwrap());
        }
        let mut seen = Vec::new();
        while seen.len() < items.len() {
            if rng.below(2) == 0 {
                seen.push(queue.try_get().unwrap());
            } else {
                seen.extend(queue.try_get_many(3).unwrap());
            }
        }
        assert!(seen == items);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    }
    // nothing was lost of the store
    queue.try_put(&vec![5; queue.max_len()]).unwrap();
    assert!(matches!(queue.try_put(&[0; 600]), Err(PutError::Full)));
    assert!(queue.get().unwrap() == vec![5; queue.max_len()]);
    let error = queue.put(&vec![0; queue.max_len() + 1]).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { .. }));
}

#[test]
fn single_roles_carry_large_messages_too_also_in_place() {
    let options = QueueOptions::new().large_messages(2 << 20).single_producer().single_consumer();
    let (_name, queue) = large("roles", options);
    let (mut producer, mut consumer) = (queue.producer().unwrap(), queue.consumer().unwrap());
    for len in [0, 8, 512, 513, 100_000, 1 << 19] {
        let item = vec![len as u8; len];
        producer.put(&item).unwrap();
        assert!(consumer.try_get().unwrap() == item);
        let mut room = producer.reserve(len).unwrap();
        assert!(room.write_at(0, &item));
        assert!(!room.write_at(1, &item) || len == 0);
        room.commit().unwrap();
        drop(producer.reserve(len).unwrap());
        let view = consumer.try_peek().unwrap();
        let mut copy = vec![0; len];
        assert_eq!(view.len(), len);
        assert!(view.copy_to(&mut copy) && copy == item);
        view.release().unwrap();
        assert!(matches!(consumer.try_get(), Err(GetError::Empty)));
    }
    producer.put_many(&[&[1; 10][..], &[2; 5000], &[3; 20]]).unwrap();
    assert_eq!(consumer.get_many(9).unwrap().len(), 1, "a large message is taken alone");
    assert_eq!(consumer.get_many(9).unwrap(), [vec![2; 5000]]);
    assert_eq!(consumer.get_many(9).unwrap(), [vec![3; 20]]);
}

#[test]
fn many_producers_write_in_place_and_forgetting_blocks_nobody() {
    let (_name, queue) = bytes("in-place");
    let mut room = queue.reserve(10_000).unwrap();
    queue.put(b"before").unwrap();
    assert!(room.write_at(0, &[9; 10_000]));
    assert!(!room.write_at(1, &[9; 10_000]) && !room.write_at(usize::MAX, b"x"));
    room.commit().unwrap();
    drop(queue.reserve(50_000).unwrap());
    std::mem::forget(queue.reserve(20_000).unwrap());
    queue.put(b"after").unwrap();
    assert_eq!(drain(&queue), [b"before".to_vec(), vec![9; 10_000], b"after".to_vec()]);
    assert!(matches!(queue.try_reserve(50_000), Err(PutError::Full)));
    assert!(matches!(queue.reserve_timeout(50_000, SHORT), Err(PutError::TimedOut)));
    queue.try_reserve(30_000).unwrap().commit().unwrap();
    let error = queue.reserve(70_000).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { .. }));
}

#[test]
fn a_gibibyte_goes_through() {
    let len = 1 << 30;
    if !support::enough_shared_memory(len + (1 << 28)) {
        return;
    }
    let _watchdog = support::watchdog();
    let (_name, queue) = large("gibibyte", QueueOptions::new().large_messages(len + 48));
    let mut item = vec![0; len as usize];
    for (nth, byte) in item.iter_mut().enumerate().step_by(4093) {
        *byte = nth as u8;
    }
    queue.put(&item).unwrap();
    assert!(queue.get().unwrap() == item);
}
