//! Memory: loom's atomics, with a place to die before each access, and what goes with them.

use std::sync::Arc;

use loom::sync::atomic as model;

use super::{Fault, Ordering, Plant, me, step, world};

/// A word, and something that every load of it writes. loom looks for the other order of two accesses
/// only at the last one that matters to the later: when a thread loads a word and then writes it, its
/// own load hides the earlier loads of others. So two loads of a word have an order, too.
#[derive(Debug)]
struct Loads<W> {
    word: W,
    order: model::AtomicU32,
}

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        /// loom's atomic, with a place to die before each access.
        #[derive(Clone, Debug)]
        #[repr(transparent)]
        pub(crate) struct $name(Arc<Loads<model::$name>>);

        impl $name {
            #[track_caller]
            pub(crate) fn new(value: $int) -> $name {
                let word = model::$name::new(value);
                $name(Arc::new(Loads { word, order: model::AtomicU32::new(0) }))
            }

            pub(super) fn key(&self) -> usize {
                Arc::as_ptr(&self.0).addr()
            }

            /// loom's atomic itself: for the kernel, which does not die.
            pub(super) fn word(&self) -> &model::$name {
                &self.0.word
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                if let Some(same) = polled(self.key()) {
                    return same as $int;
                }
                step("load");
                self.0.order.store(0, Ordering::Relaxed);
                let seen = self.word().load(order);
                let me = me();
                world(|world| world.people[me].seen = (self.key(), u64::from(seen)));
                seen
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                step("store");
                self.word().store(value, order);
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                step("swap");
                self.word().swap(value, order)
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                seen: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                step("compare_exchange");
                self.word().compare_exchange(seen, new, success, failure)
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                step("fetch_or");
                self.word().fetch_or(bits, order)
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, more: $int, order: Ordering) -> $int {
                step("fetch_add");
                self.word().fetch_add(more, order)
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $int, order: Ordering) -> $int {
                step("fetch_max");
                self.word().fetch_max(value, order)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// A pause between two polls of a word. Polls in a row are taken to be so quick that they see what the
/// one before saw, as any number of them may; then the poller gives up, and goes to sleep. (To let the
/// others run here would hide orders from loom: it forgets what a thread that yields is about to do.)
pub(crate) fn spin_loop() {
    let me = me();
    world(|world| world.people[me].polls = true);
}

/// What a further poll of the word sees.
fn polled(key: usize) -> Option<u64> {
    let me = me();
    world(|world| {
        let me = &world.people[me];
        (me.polls && me.seen.0 == key).then_some(me.seen.1)
    })
}

/// See [`crate::primitive`].
pub(crate) fn fence_after_rmw() {
    if !world(|world| world.fault == Some(Plant::NoFence)) {
        model::fence(Ordering::SeqCst);
    }
}

/// Whether this fault is planted in the model that runs.
pub(crate) fn fault(which: Fault) -> bool {
    world(|world| world.fault == Some(Plant::Fault(which)))
}
