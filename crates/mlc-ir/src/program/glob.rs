//! Globs over state paths, as path maps use them.

/// Does a glob match a whole path? `*` is any run of characters inside one segment (`norm*.*`),
/// `**` any run of characters, dots included; a leading `**.` also matches no segment at all, and a
/// trailing `.**` likewise. Linear in the product of the lengths.
pub fn matches(glob: &str, path: &str) -> bool {
    if let Some(rest) = glob.strip_prefix("**.")
        && matches(rest, path)
    {
        return true;
    }
    if let Some(start) = glob.strip_suffix(".**")
        && matches(start, path)
    {
        return true;
    }
    // reachable[j]: the glob read so far matches path[..j].
    let path = path.as_bytes();
    let mut reachable = vec![false; path.len() + 1];
    reachable[0] = true;
    let mut glob = glob.as_bytes();
    while let Some((&c, rest)) = glob.split_first() {
        glob = rest;
        let deep = c == b'*' && glob.first() == Some(&b'*');
        if deep {
            glob = &glob[1..];
        }
        if c == b'*' {
            for j in 0..path.len() {
                if reachable[j] && (deep || path[j] != b'.') {
                    reachable[j + 1] = true;
                }
            }
        } else {
            for j in (0..path.len()).rev() {
                reachable[j + 1] = reachable[j] && path[j] == c;
            }
            reachable[0] = false;
        }
    }
    reachable[path.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        let cases = [
            ("**", "fc1.weight", true),
            ("**.bias", "fc1.bias", true),
            ("**.bias", "bias", true),
            ("**.bias", "fc1.weight", false),
            ("wte.*", "wte.weight", true),
            ("wte.*", "wte.a.weight", false),
            ("blocks.0.**", "blocks.0.attn.qkv.weight", true),
            ("blocks.0.**", "blocks.01.x", false),
            ("**.norm*.*", "blocks.3.norm1.weight", true),
            ("**.norm*.*", "norm.weight", true),
            ("**.lora_*", "h.0.lora_a", true),
            ("**.lora_*", "h.0.lora_a.x", false),
            ("critic.**", "critic.fc.bias", true),
            ("critic.**", "critics.fc", false),
            ("", "", true),
            ("a", "", false),
        ];
        for (glob, path, want) in cases {
            assert_eq!(matches(glob, path), want, "{glob} on {path}");
        }
    }
}
