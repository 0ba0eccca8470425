use super::*;

/// Gives its bytes in pieces of one size, so that every boundary falls everywhere.
struct Dripping<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Dripping<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.min(self.bytes.len()).min(into.len());
        let (now, later) = self.bytes.split_at(count);
        into[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

/// All items of an input, and the error that ended it.
fn split_by(input: &[u8], piece: usize, framing: Framing) -> (Vec<Vec<u8>>, Option<SplitError>) {
    let mut splitter = Splitter::new(Dripping { bytes: input, piece }, framing, 1000);
    let mut items = Vec::new();
    loop {
        let mut batch = Records::default();
        let more = splitter.next(3, 1 << 20, &mut batch);
        assert!(batch.len() <= 3);
        items.extend(batch.iter().map(<[u8]>::to_vec));
        match more {
            Ok(true) => assert!(!batch.is_empty()),
            Ok(false) => return (items, None),
            Err(error) => return (items, Some(error)),
        }
    }
}

/// The same items whatever the pieces; returned as text.
fn split(input: &[u8], framing: Framing) -> Vec<String> {
    let mut all = (1..=input.len().max(1)).map(|piece| {
        let (items, error) = split_by(input, piece, framing.clone());
        assert!(error.is_none(), "{error:?}");
        items
    });
    let first = all.next().unwrap();
    assert!(all.all(|items| items == first));
    first.iter().map(|item| String::from_utf8_lossy(item).into_owned()).collect()
}

fn delimited(delimiter: &str, keep: bool) -> Framing {
    Framing::Delimited { delimiter: delimiter.into(), keep }
}

#[test]
fn lines_are_cut_at_newlines() {
    assert_eq!(split(b"", Framing::lines()), Vec::<String>::new());
    assert_eq!(split(b"\n", Framing::lines()), [""]);
    assert_eq!(split(b"a\nbc\n", Framing::lines()), ["a", "bc"]);
    assert_eq!(split(b"a\nbc", Framing::lines()), ["a", "bc"]);
    assert_eq!(split(b"\n\na\r\n\n", Framing::lines()), ["", "", "a\r", ""]);
}

#[test]
fn kept_newlines_give_the_input_back() {
    for input in ["", "\n", "a", "a\n", "a\n\nb", "\n\n"] {
        assert_eq!(split(input.as_bytes(), delimited("\n", true)).concat(), input);
    }
    assert_eq!(split(b"a\nb", delimited("\n", true)), ["a\n", "b"]);
}

#[test]
fn delimiters_may_be_long() {
    assert_eq!(split(b"a--b-c--", delimited("--", false)), ["a", "b-c"]);
    assert_eq!(split(b"aaa", delimited("aa", false)), ["", "a"]);
    assert_eq!(split(b"xababay", delimited("aba", false)), ["x", "bay"]);
}

#[test]
fn frames_follow_their_length() {
    assert_eq!(split(b"\x03\0\0\0a\nb\0\0\0\0\x01\0\0\0c", Framing::Frames), ["a\nb", "", "c"]);
}

#[test]
fn a_cut_frame_is_an_error_after_the_whole_ones() {
    for (input, want) in [(&b"\x01\0\0\0a\x02\0"[..], 2), (b"\x01\0\0\0a\x02\0\0\0b", 5)] {
        for piece in 1..input.len() {
            let (items, error) = split_by(input, piece, Framing::Frames);
            assert_eq!(items, [b"a"]);
            let Some(SplitError::InsideFrame { have, .. }) = error else { panic!("{error:?}") };
            assert_eq!(have, want);
        }
    }
}

#[test]
fn chunks_have_one_size() {
    assert_eq!(split(b"abcdefg", Framing::Chunks(3)), ["abc", "def", "g"]);
    assert_eq!(split(b"abcdef", Framing::Chunks(3)), ["abc", "def"]);
    assert_eq!(split(b"", Framing::Chunks(3)), Vec::<String>::new());
}

#[test]
fn whole_is_one_item_even_when_empty() {
    assert_eq!(split(b"a\nb", Framing::Whole), ["a\nb"]);
    assert_eq!(split(b"", Framing::Whole), [""]);
}

#[test]
fn too_long_is_noticed_before_it_is_read() {
    let endless = || io::repeat(b'x');
    for framing in [Framing::lines(), Framing::Whole, Framing::Frames] {
        let mut splitter = Splitter::new(endless(), framing, 1000);
        let error = splitter.next(1, 1, &mut Records::default()).unwrap_err();
        assert!(matches!(error, SplitError::TooLong(len) if len > 1000), "{error:?}");
    }
}

#[test]
fn the_longest_item_fits() {
    let longest = "x".repeat(1000);
    assert_eq!(split_by(longest.as_bytes(), 7, Framing::lines()).0.len(), 1);
    assert_eq!(split_by(format!("{longest}\n").as_bytes(), 7, Framing::lines()).0.len(), 1);
    let (items, error) = split_by(format!("a\n{longest}x\n").as_bytes(), 7, Framing::lines());
    assert_eq!((items.len(), error.is_some()), (1, true));
}

#[test]
fn a_batch_never_waits_while_it_has_an_item() {
    struct Twice(u32);
    impl Read for Twice {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            assert!(self.0 == 1, "read again although an item was there");
            into[..5].copy_from_slice(b"a\nb\nc");
            Ok(5)
        }
    }
    let mut splitter = Splitter::new(Twice(0), Framing::lines(), 1000);
    let mut batch = Records::default();
    assert!(splitter.next(64, 1 << 20, &mut batch).unwrap());
    assert_eq!(batch.iter().collect::<Vec<_>>(), [b"a", b"b"]);
}

#[test]
fn long_items_grow_the_buffer() {
    let long = vec![b'x'; 3 << 20];
    let mut input = long.clone();
    input.extend_from_slice(b"\nend");
    let mut splitter = Splitter::new(&input[..], Framing::lines(), 1 << 30);
    let mut batch = Records::default();
    assert!(splitter.next(1, usize::MAX, &mut batch).unwrap());
    assert_eq!(batch.bytes(), long.len());
    let mut batch = Records::default();
    assert!(splitter.next(1, usize::MAX, &mut batch).unwrap());
    assert!(batch.iter().eq([b"end"]));
}
