//! Just enough of Rust's grammar to tell code from text and to find where a function ends.

/// A function found in a source: its name, its first line and how many lines it spans.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The source with comments, strings and character literals replaced by spaces; lines and columns stay.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = text_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn text_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    match chars[at] {
        '/' if next == '/' => find(chars, at, |c| c == '\n'),
        '/' if next == '*' => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        '\'' => char_end(chars, at),
        'r' if !continues_word(chars, at) || is_prefix(chars, at) => raw_string_end(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|&c| wanted(c)).map_or(chars.len(), |n| from + n)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn continues_word(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1])
}

/// The `r` of `br"..."` and `cr"..."` follows a letter that is no word of its own.
fn is_prefix(chars: &[char], at: usize) -> bool {
    at > 0 && matches!(chars[at - 1], 'b' | 'c') && !continues_word(chars, at - 1)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// Tells a character literal from a lifetime: a lifetime has no second quote two places on.
fn char_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return find(chars, at + 3, |c| c == '\'') + 1;
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

/// `r"..."` and `r#"..."#`; a raw identifier such as `r#type` is no string.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let quote = find(chars, at + 1, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - at - 1;
    let mut i = quote + 1;
    while i < chars.len() {
        if chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').take(hashes).count() == hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    chars.len()
}

/// Where the item that starts at `from` ends: behind its closing brace, or behind its semicolon if it has no body.
fn item_end(code: &[char], from: usize) -> usize {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (i, &c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 && braces == 0 => return i + 1,
            '{' => braces += 1,
            '}' if braces <= 1 => return i + 1,
            '}' => braces -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Code with every item under `#[cfg(test)]` replaced by spaces.
pub(crate) fn without_tests(code: &str) -> String {
    let marker: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut chars: Vec<char> = code.chars().collect();
    let mut at = 0;
    while at + marker.len() <= chars.len() {
        if chars[at..].starts_with(&marker) {
            let end = item_end(&chars, at + marker.len());
            for c in &mut chars[at..end] {
                *c = if *c == '\n' { '\n' } else { ' ' };
            }
            at = end;
        } else {
            at += 1;
        }
    }
    chars.into_iter().collect()
}

/// Every function that has a body.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    for at in 0..chars.len() {
        if chars[at] == '\n' {
            line += 1;
        }
        let keyword = chars[at..].starts_with(&['f', 'n', ' ']) && !continues_word(&chars, at);
        let name: String = chars[at..].iter().skip(3).take_while(|&&c| is_word(c)).collect();
        if keyword && !name.is_empty() {
            let end = item_end(&chars, at);
            let lines = chars[at..end].iter().filter(|&&c| c == '\n').count() + 1;
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Every `crate::NAME`, in paths and in `use crate::{..}` groups, with its line.
pub(crate) fn crate_paths(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, marker) in code.match_indices("crate::") {
        if code[..at].chars().next_back().is_some_and(|c| is_word(c) || c == '$') {
            continue;
        }
        let rest = &code[at + marker.len()..];
        let line = code[..at].matches('\n').count() + 1;
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_names(group).into_iter().map(|(name, below)| (name, line + below)));
        } else {
            found.push((rest.chars().take_while(|&c| is_word(c)).collect(), line));
        }
    }
    found
}

/// The first names of a use group's members, with how many lines below its start they stand.
fn group_names(group: &str) -> Vec<(String, usize)> {
    let (mut names, mut depth, mut line, mut wanted) = (Vec::new(), 1, 0, true);
    let mut chars = group.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => wanted = true,
            '\n' => line += 1,
            c if wanted && is_word(c) => {
                let mut name = c.to_string();
                while let Some(next) = chars.next_if(|&c| is_word(c)) {
                    name.push(next);
                }
                names.push((name, line));
                wanted = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn text_that_looks_like_code_is_blanked() {
    let source = "a /* { /* } */ */ b\n\"}\\\"{\" c r#\"\"}\"# d '{' '\\'' '\\u{7d}' 'life br\"{\" r#type // }\nend";
    let code = code_only(source);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "c", "d", "'life", "b", "r#type", "end"]);
    assert_eq!(code.lines().count(), source.lines().count());
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_brace() {
    let found = functions("fn a();\nfn b(x: [u8; 2])\nwhere\n{\n  fn c() {}\n}\nlet f: fn(u8);\n");
    let shape: Vec<(&str, usize, usize)> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(shape, [("a", 1, 1), ("b", 2, 5), ("c", 5, 1)]);
}
