//! Words without their English endings, so that "built by", "builder" and "building" meet: the algorithm of M. F. Porter, "An
//! algorithm for suffix stripping", 1980. What it makes need not be a word; passages and questions only have to get the same.

/// Suffixes of steps 2 and 3, each with its replacement, where the rest has at least one vowel before a consonant.
const STEP_2: [(&str, &str); 20] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("abli", "able"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
];
const STEP_3: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];
/// Suffixes that go where the rest has two; `ion` only after `s` or `t`.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// Cuts `word`, if that is made of more than two letters a to z in lower case.
pub fn stem(word: &mut String) {
    if word.len() <= 2 || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return;
    }
    plural(word);
    past(word);
    if let Some(rest) = word.strip_suffix('y').filter(|rest| has_vowel(rest)) {
        replace(word, rest.len(), "i");
    }
    for table in [&STEP_2[..], &STEP_3[..]] {
        let longest = table.iter().filter(|(end, _)| word.ends_with(end)).max_by_key(|(end, _)| end.len());
        if let Some((end, new)) = longest {
            let rest = word.len() - end.len();
            if measure(&word[..rest]) > 0 {
                replace(word, rest, new);
            }
        }
    }
    if let Some(end) = STEP_4.iter().filter(|end| word.ends_with(*end)).max_by_key(|end| end.len()) {
        let rest = word.len() - end.len();
        if measure(&word[..rest]) > 1 && (*end != "ion" || word[..rest].ends_with(['s', 't'])) {
            word.truncate(rest);
        }
    }
    if let Some(rest) = word.strip_suffix('e')
        && (measure(rest) > 1 || (measure(rest) == 1 && !is_short(rest)))
    {
        word.pop();
    }
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
}

fn plural(word: &mut String) {
    let cut = match () {
        () if word.ends_with("sses") || word.ends_with("ies") => 2,
        () if word.ends_with('s') && !word.ends_with("ss") => 1,
        () => 0,
    };
    word.truncate(word.len() - cut);
}

/// Takes off `ed` and `ing`, and mends what is left.
fn past(word: &mut String) {
    if let Some(rest) = word.strip_suffix("eed") {
        if measure(rest) > 0 {
            word.pop();
        }
        return;
    }
    let Some(rest) = ["ed", "ing"].iter().find_map(|end| word.strip_suffix(end)).filter(|rest| has_vowel(rest)) else {
        return;
    };
    word.truncate(rest.len());
    if ["at", "bl", "iz"].iter().any(|end| word.ends_with(end)) {
        word.push('e');
    } else if is_double(word) && !word.ends_with(['l', 's', 'z']) {
        word.pop();
    } else if measure(word) == 1 && is_short(word) {
        word.push('e');
    }
}

fn replace(word: &mut String, rest: usize, new: &str) {
    word.truncate(rest);
    word.push_str(new);
}

/// Whether letter `i` is a consonant; y is one, but after a consonant.
fn consonant(word: &[u8], i: usize) -> bool {
    match word[i] {
        b'a' | b'e' | b'i' | b'o' | b'u' => false,
        b'y' => i == 0 || !consonant(word, i - 1),
        _ => true,
    }
}

fn has_vowel(word: &str) -> bool {
    (0..word.len()).any(|i| !consonant(word.as_bytes(), i))
}

/// How often a vowel is followed by a consonant.
fn measure(word: &str) -> usize {
    let word = word.as_bytes();
    (1..word.len()).filter(|&i| !consonant(word, i - 1) && consonant(word, i)).count()
}

/// Whether the word ends with the same consonant twice.
fn is_double(word: &str) -> bool {
    let word = word.as_bytes();
    matches!(word, [.., a, b] if a == b) && consonant(word, word.len() - 1)
}

/// Whether the word ends with consonant, vowel, and a consonant other than w, x and y.
fn is_short(word: &str) -> bool {
    let (word, len) = (word.as_bytes(), word.len());
    len >= 3
        && consonant(word, len - 3)
        && !consonant(word, len - 2)
        && consonant(word, len - 1)
        && !matches!(word[len - 1], b'w' | b'x' | b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `word stem` per line, made by snowballstemmer's "porter"; see `tests/tools/stems.py`.
    #[test]
    fn stems_are_those_of_the_reference() {
        let lines: Vec<&str> = include_str!("../../tests/golden/stems.txt").lines().collect();
        assert!(lines.len() > 1000);
        for line in lines {
            let (word, want) = line.split_once(' ').expect("two words");
            let mut got = word.to_owned();
            stem(&mut got);
            assert_eq!(got, want, "{word}");
        }
    }

    #[test]
    fn other_words_stay() {
        for word in ["", "is", "naïves", "b2ings", "灯台", "4th"] {
            let mut got = word.to_owned();
            stem(&mut got);
            assert_eq!(got, word);
        }
    }
}
