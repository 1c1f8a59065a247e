//! Numbers with their units, as every message writes them.

/// `398 KiB`: three digits are enough to compare.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match value {
        _ if unit == "B" => format!("{n} B"),
        v if v < 10.0 => format!("{v:.2} {unit}"),
        v if v < 100.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 407_080, 10 << 20, 300 << 30];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.00 KiB", "398 KiB", "10.0 MiB", "300 GiB"]);
    }
}
