//! A batch of items, back to back in one buffer.
#![forbid(unsafe_code)]

/// Items in order, each a run of bytes. An item may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where each item ends; it begins where the one before ends.
    ends: Vec<usize>,
}

impl Records {
    /// Adds an item.
    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes all items have.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
    }
}

impl<'a> FromIterator<&'a [u8]> for Records {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(items: I) -> Records {
        let mut records = Records::default();
        items.into_iter().for_each(|item| records.push(item));
        records
    }
}
