//! Think times and rates: how fast a program wants to be.
#![forbid(unsafe_code)]

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::args::duration;
use crate::signals::Stop;

/// A time, or a range of times to pick from at random: `1s` or `0.5s..2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    low: Duration,
    high: Duration,
}

impl Delay {
    /// The next time: always the same, or anything in the range.
    pub fn pick(&self) -> Duration {
        self.low + (self.high - self.low).mul_f64(fastrand::f64())
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Delay, String> {
        let (low, high) = match text.split_once("..") {
            Some((low, high)) => (duration(low)?, duration(high)?),
            None => (duration(text)?, duration(text)?),
        };
        if low > high {
            return Err("the range ends before it starts".into());
        }
        Ok(Delay { low, high })
    }
}

/// Items per second: `200`, `200/s`, `30/min` or `10/h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    interval: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
        let number: f64 =
            number.trim().parse().map_err(|_| format!("{number:?} is not a number"))?;
        let seconds = match unit.trim() {
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            other => return Err(format!("unknown unit {other:?}: use /s, /min or /h")),
        };
        let interval = Duration::try_from_secs_f64(seconds / number)
            .map_err(|_| "use a number above zero".to_string())?;
        Ok(Rate { interval })
    }
}

/// Keeps a program at its pace: call [`Pace::wait`] before the items.
#[derive(Debug)]
pub struct Pace {
    delay: Option<Delay>,
    rate: Option<Rate>,
    next: Instant,
}

impl Pace {
    /// As fast as possible where both are `None`.
    pub fn new(delay: Option<Delay>, rate: Option<Rate>) -> Pace {
        Pace { delay, rate, next: Instant::now() }
    }

    /// Whether it holds the program back at all.
    pub fn is_free(&self) -> bool {
        self.delay.is_none() && self.rate.is_none()
    }

    /// Waits until the next `items` are due: one delay, and the time the rate asks for. A signal
    /// ends the wait.
    ///
    /// A rate is kept on average: after a stall of more than a second the clock starts afresh,
    /// so that a stall is not followed by an endless burst.
    pub fn wait(&mut self, items: usize, stop: &Stop) {
        if let Some(delay) = &self.delay {
            stop.sleep(delay.pick());
        }
        if let Some(rate) = &self.rate {
            let now = Instant::now();
            if self.next > now {
                stop.sleep(self.next - now);
            } else if now - self.next > Duration::from_secs(1) {
                self.next = now;
            }
            self.next += rate.interval.saturating_mul(items.try_into().unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_time_or_a_range() {
        let second = Duration::from_secs(1);
        assert_eq!("1s".parse(), Ok(Delay { low: second, high: second }));
        assert_eq!("1s..2s".parse(), Ok(Delay { low: second, high: second * 2 }));
        assert_eq!(
            "0.1s..0.3s".parse(),
            Ok(Delay { low: Duration::from_millis(100), high: Duration::from_millis(300) })
        );
        assert!("0".parse::<Delay>().is_ok());
        assert!("2s..1s".parse::<Delay>().is_err());
        assert!("1s..".parse::<Delay>().is_err());
        assert!("soon".parse::<Delay>().is_err());
    }

    #[test]
    fn a_picked_delay_is_in_its_range() {
        let delay: Delay = "10ms..20ms".parse().unwrap();
        for _ in 0..1000 {
            let time = delay.pick();
            assert!(time >= delay.low && time <= delay.high, "{time:?}");
        }
    }

    #[test]
    fn a_rate_has_a_unit() {
        let second = Duration::from_secs(1);
        assert_eq!("1".parse(), Ok(Rate { interval: second }));
        assert_eq!("10/s".parse(), Ok(Rate { interval: second / 10 }));
        assert_eq!("60/min".parse(), Ok(Rate { interval: second }));
        for wrong in ["0", "-1", "nan", "", "/s", "5/fortnight"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong:?}");
        }
    }
}
