//! The clock of progress. A stall counts from the last progress, or from the last moment when some
//! child was stopped: a stopped process may hold a lock, and then others wait for it by contract.

use std::time::{Duration, Instant};

/// A queue that stands still for so long, with nobody stopped, is stuck.
pub const STUCK: Duration = Duration::from_secs(5);

/// A sleep of everybody, with work to do, that lasts so long is a wake-up that did not come. The queue's
/// own backstop ends it after 100 ms; nothing else here sleeps over 1 ms. If somebody died lately, the
/// wake-up may have died with its sender, and is *late* by contract; if not, it is *lost*.
const ASLEEP_FOR: Duration = Duration::from_millis(50);

/// How many of the looks in that time must find everybody asleep, in percent. A machine that is
/// merely busy leaves runnable processes behind.
const ASLEEP_LOOKS: u32 = 90;

/// Who could not look for so long cannot tell a stall from a machine that gave nobody any time.
const BLIND: Duration = Duration::from_millis(250);

pub struct Pulse {
    value: u64,
    since: Instant,
    looks: u32,
    asleep: u32,
    counted: bool,
    looked: Instant,
    pub longest: Duration,
    /// The longest time between two looks: how long the looker itself was kept from looking.
    pub blind: Duration,
    pub late_wake_ups: u64,
    pub lost_wake_ups: u64,
}

impl Pulse {
    pub fn new() -> Pulse {
        Pulse {
            value: 0,
            since: Instant::now(),
            looks: 0,
            asleep: 0,
            counted: false,
            looked: Instant::now(),
            longest: Duration::ZERO,
            blind: Duration::ZERO,
            late_wake_ups: 0,
            lost_wake_ups: 0,
        }
    }

    /// Starts to count anew: from here on nothing that happened before matters.
    pub fn restart(&mut self) {
        self.since = Instant::now();
        (self.looks, self.asleep, self.counted) = (0, 0, false);
    }

    /// One look. `calm` when nobody was killed or stopped for several backstops. Returns how long
    /// the present stall is.
    pub fn look(
        &mut self,
        value: u64,
        stopped: bool,
        calm: bool,
        sleeping: impl FnOnce() -> bool,
    ) -> Duration {
        let away = self.looked.elapsed();
        self.blind = self.blind.max(away);
        self.looked = Instant::now();
        if value != self.value || stopped || away > BLIND {
            self.value = value;
            self.restart();
            return Duration::ZERO;
        }
        let stall = self.since.elapsed();
        self.longest = self.longest.max(stall);
        if stall > Duration::from_millis(5) {
            self.looks += 1;
            self.asleep += u32::from(sleeping());
            let nobody_runs = self.looks >= 5 && self.asleep * 100 >= self.looks * ASLEEP_LOOKS;
            if stall >= ASLEEP_FOR && nobody_runs && !self.counted {
                self.counted = true;
                *if calm { &mut self.lost_wake_ups } else { &mut self.late_wake_ups } += 1;
            }
        }
        stall
    }
}
