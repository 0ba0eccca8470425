//! As much of reading Rust as the rules need.

/// One name or one other character, and its line; `::` is one token. Comments, strings and
/// character literals are left out.
pub fn tokens(text: &str) -> Vec<(usize, String)> {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let (mut found, mut line, mut index) = (Vec::new(), 1, 0);
    while index < characters.len() {
        let start = index;
        let name = |c: char| c.is_alphanumeric() || c == '_';
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < characters.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (depth, index) = (depth + 1, index + 2),
                        ('*', '/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 || index >= characters.len() {
                        break;
                    }
                }
            }
            '"' => index = end_of_string(&characters, index),
            'r' | 'b' | 'c' if raw_string(&characters, index).is_some() => {
                index = raw_string(&characters, index).expect("just seen");
            }
            '\'' if at(index + 1) == '\\' => {
                index += 3;
                while index < characters.len() && at(index - 1) != '\'' {
                    index += 1;
                }
            }
            '\'' if at(index + 2) == '\'' => index += 3,
            c if name(c) => {
                while name(at(index)) {
                    index += 1;
                }
                found.push((line, characters[start..index].iter().collect()));
            }
            ':' if at(index + 1) == ':' => {
                found.push((line, "::".into()));
                index += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
                index += 1;
            }
        }
        let end = index.min(characters.len());
        line += characters[start..end].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_string(characters: &[char], quote: usize) -> usize {
    let mut index = quote + 1;
    while index < characters.len() && characters[index] != '"' {
        index += if characters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The end of `r"..."`, `r#"..."#`, `b"..."`, `br"..."` or `c"..."` when one starts here.
fn raw_string(characters: &[char], start: usize) -> Option<usize> {
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let before = start.checked_sub(1).map_or(' ', at);
    if before.is_alphanumeric() || before == '_' {
        return None;
    }
    let mut index = start + usize::from(matches!(at(start), 'b' | 'c'));
    let raw = at(index) == 'r';
    index += usize::from(raw);
    let hashes = (index..).take_while(|i| at(*i) == '#').count();
    if at(index + hashes) != '"' || (!raw && (hashes > 0 || index == start)) {
        return None;
    }
    if !raw {
        return Some(end_of_string(characters, index));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let rest: String = characters[index + hashes + 1..].iter().collect();
    let length = rest.find(&close).map(|bytes| rest[..bytes].chars().count());
    Some(length.map_or(characters.len(), |n| index + hashes + 1 + n + close.chars().count()))
}

/// The names that follow `::` at token `index`: one, or the first of each entry in a group.
pub fn first_names(tokens: &[(usize, String)], index: usize) -> Vec<(usize, String)> {
    let text = |i: usize| tokens.get(i).map_or("", |(_, text)| text.as_str());
    if text(index) != "::" {
        return Vec::new();
    }
    if text(index + 1) != "{" {
        return tokens.get(index + 1).cloned().into_iter().collect();
    }
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), false);
    for token in &tokens[index + 1..] {
        match token.1.as_str() {
            "{" => (depth, fresh) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => fresh = depth == 1,
            _ if fresh => {
                names.push(token.clone());
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}
