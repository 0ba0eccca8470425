//! The example of the README that shows the sync family.

use std::error::Error;

// The example, from here to its end.
use steadfast::{Barrier, Condvar, Mutex, RwLock, Segment, SegmentOptions, Shared, Value};

#[derive(Shared)]
struct Shop {
    tickets: Mutex<u32>,
    restocked: Condvar,
    prices: RwLock<[u32; 100]>,
    visitors: Value<u64>,
    opening: Barrier,
}

#[allow(dead_code, reason = "as a whole it would wait for others")]
fn example() -> Result<(), Box<dyn Error>> {
    let init = ShopInit { tickets: 0, restocked: (), prices: [250; 100], visitors: 0, opening: 3 };
    let shop = Segment::of::<Shop>().open_or_create("shop", init, &SegmentOptions::new())?;

    shop.visitors.update(|visitors| visitors + 1)?; // killed here: the old number, or the new one
    if let Ok(prices) = shop.prices.read() {
        println!("{} cents", prices[7]); // killed here: writers go on
    }
    shop.opening.wait()?; // killed here: the others hear that it is broken

    let tickets = shop.tickets.lock().or_else(|error| error.recover(|left| **left = 0))?;
    let tickets = shop.restocked.wait_while(tickets, |left| *left == 0);
    *tickets.or_else(|error| error.recover(|left| **left = 0))? -= 1;
    Ok(())
}

#[test]
fn the_readmes_shop_is_this_one() {
    let source = include_str!("readme.rs");
    let readme = include_str!("../README.md");
    let part = |from: &str, to: &str| {
        let start = source.find(from).expect("the beginning");
        let end = start + source[start..].find(to).expect("the end");
        let lines = source[start..end].lines();
        let less = lines.map(|line| line.strip_prefix("    ").unwrap_or(line));
        (source[start..end].to_owned(), less.collect::<Vec<_>>().join("\n"))
    };
    let (head, _) = part("use steadfast::{Barrier", "#[allow(dead_code");
    let (_, body) = part("    let init", "    Ok(())");
    for text in [head.trim_end(), body.trim_end()] {
        assert!(readme.contains(text), "not in the README:\n{text}");
    }
}
