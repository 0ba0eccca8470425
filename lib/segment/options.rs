//! How a segment is made, and what `clean` may remove.

/// How a segment is made. The defaults: 128 participants, access for the creator's user only,
/// durable.
///
/// ```
/// use steadfast::SegmentOptions;
/// let options = SegmentOptions::new().participants(16).ephemeral(true);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    pub(super) participants: u16,
    pub(super) group: Option<u32>,
    pub(super) ephemeral: bool,
}

impl SegmentOptions {
    /// The defaults.
    pub fn new() -> SegmentOptions {
        SegmentOptions { participants: 128, group: None, ephemeral: false }
    }

    /// How many processes can be attached at once: 1 to 4096. Each takes 64 bytes.
    #[must_use]
    pub fn participants(mut self, participants: u16) -> SegmentOptions {
        self.participants = participants;
        self
    }

    /// Lets a group read and write the segment too; the creator must be in it. Only the creator's
    /// user can remove the segment all the same, so an ephemeral one may be left to
    /// [`Segment::clean`](crate::Segment::clean).
    #[must_use]
    pub fn group(mut self, id: u32) -> SegmentOptions {
        self.group = Some(id);
        self
    }

    /// Whether the last process that lets go of the segment removes it. If that process is killed,
    /// [`Segment::clean`](crate::Segment::clean) does, or the next one that opens it and lets go.
    #[must_use]
    pub fn ephemeral(mut self, ephemeral: bool) -> SegmentOptions {
        self.ephemeral = ephemeral;
        self
    }
}

impl Default for SegmentOptions {
    fn default() -> SegmentOptions {
        SegmentOptions::new()
    }
}

/// What [`Segment::clean`](crate::Segment::clean) may do. The default removes garbage, and nothing
/// that somebody may still want.
#[derive(Clone, Copy, Debug, Default)]
pub struct CleanOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Remove durable segments without users as well. They may hold unread messages.
    pub idle: bool,
}
