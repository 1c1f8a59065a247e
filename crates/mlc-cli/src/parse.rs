//! Options that have a form of their own: `NAME=N`, sizes, inputs.

use mlc::diag::Diagnostic;
use mlc::ir::{Binding, Device};
use mlc::{Compiler, Error, Target};

use crate::args::{OptionArgs, TransferMode};

/// A usage error about an option.
pub fn usage(title: impl Into<String>, hint: &str) -> Error {
    Error::plain(Diagnostic::error("E0912", title).hint(hint))
}

/// `name=value`.
pub fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Error> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name, value)),
        _ => Err(usage(
            format!("`--{option} {text}`: expected NAME=VALUE"),
            "write the name, `=` and the value without spaces",
        )),
    }
}

/// `--dim batch=1,64`: the sizes of one dim, at least one.
pub fn sizes(text: &str) -> Result<(&str, Vec<i64>), Error> {
    let (name, value) = pair("dim", text)?;
    let bad =
        |size: &str| usage(format!("`--dim {text}`: `{size}` is not a dim"), "dims are whole numbers from 0");
    let size = |s: &str| s.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| bad(s));
    Ok((name, value.split(',').map(size).collect::<Result<_, _>>()?))
}

/// `--dim batch=64`.
pub fn dim(text: &str) -> Result<(&str, i64), Error> {
    match sizes(text)? {
        (name, sizes) if sizes.len() == 1 => Ok((name, sizes[0])),
        _ => Err(usage(
            format!("`--dim {text}`: several sizes"),
            "give one; only an artifact takes several: `mlc compile FILE -o FILE.mlgx`",
        )),
    }
}

/// Every combination of the sizes of all `--dim`; one empty binding without any.
pub fn combinations(texts: &[String]) -> Result<Vec<Binding>, Error> {
    let mut all = vec![Binding::new()];
    for text in texts {
        let (name, sizes) = sizes(text)?;
        let with = |b: &Binding, n: i64| {
            let mut b = b.clone();
            b.insert(name.into(), n);
            b
        };
        all = all.iter().flat_map(|b| sizes.iter().map(|&n| with(b, n))).collect();
        if all.len() > MOST_COMBINATIONS {
            let title = format!("`--dim {text}`: more than {MOST_COMBINATIONS} combinations of sizes");
            return Err(usage(title, "each is compiled by itself: leave out those that nobody will use"));
        }
    }
    Ok(all)
}

const MOST_COMBINATIONS: usize = 1000;

/// `8GiB`, `500MB`, `1024`: bytes.
pub fn size(text: &str) -> Result<u64, Error> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: Option<f64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1.0),
        "k" | "kib" => Some(1024.0),
        "m" | "mib" => Some(1024f64.powi(2)),
        "g" | "gib" => Some(1024f64.powi(3)),
        "t" | "tib" => Some(1024f64.powi(4)),
        "kb" => Some(1e3),
        "mb" => Some(1e6),
        "gb" => Some(1e9),
        "tb" => Some(1e12),
        _ => None,
    };
    match (number.parse::<f64>(), factor) {
        (Ok(n), Some(f)) if n * f < 1e19 => Ok((n * f) as u64),
        _ => Err(usage(format!("`{text}` is not a size"), "write 8GiB, 500MB or a number of bytes")),
    }
}

/// `f32`, or what is not built yet.
fn precision(text: &str) -> Result<&str, Error> {
    let mixed = text.strip_prefix("mixed(").and_then(|t| t.strip_suffix(')'));
    match mixed.map(|m| m.split(',').next().unwrap_or(m).trim()) {
        _ if text == "f32" => Ok(text),
        Some("f16" | "bf16") => {
            let d = Diagnostic::error("E0916", format!("`--precision {text}` is not built yet"));
            Err(Error::plain(d.hint("leave the option out: everything runs in the dtypes that are written")))
        }
        _ => Err(usage(
            format!("`--precision {text}`: `{text}` is not a precision"),
            "write f32, mixed(f16) or mixed(bf16)",
        )),
    }
}

/// A compiler with the options that check, compile and run share.
pub fn compiler(a: &OptionArgs) -> Result<Compiler, Error> {
    let mut compiler = compiler_without_dims(a)?;
    for text in &a.dims {
        let (name, n) = dim(text)?;
        compiler = compiler.dim(name, n);
    }
    Ok(compiler)
}

/// [`compiler`] for an artifact, whose dims have several sizes: with the first of each, so that names can be
/// checked.
pub fn compiler_of_artifact(a: &OptionArgs) -> Result<Compiler, Error> {
    let mut compiler = compiler_without_dims(a)?;
    for text in &a.dims {
        let (name, all) = sizes(text)?;
        compiler = compiler.dim(name, all[0]);
    }
    Ok(compiler)
}

fn compiler_without_dims(a: &OptionArgs) -> Result<Compiler, Error> {
    let target: Target = a.target.parse().map_err(Error::plain)?;
    let mut compiler = Compiler::new().target(target).strict(a.strict);
    for text in &a.devices {
        let (name, value) = pair("device", text)?;
        let device: Device = value
            .parse()
            .map_err(|why: String| usage(format!("`--device {text}`: {why}"), "write --device left=cpu:1"))?;
        compiler = compiler.device(name, device);
    }
    if let Some(p) = &a.precision {
        compiler = compiler.precision(precision(p)?);
    }
    if let Some(mode) = a.transfers {
        compiler = compiler.explicit_transfers(mode == TransferMode::Explicit);
    }
    if let Some(m) = &a.model {
        compiler = compiler.model(m);
    }
    compiler = compiler.memory_limit(a.memory_limit.as_deref().map(size).transpose()?);
    match a.threads {
        Some(0) => {
            return Err(usage(
                "`--threads 0`: at least one thread is needed",
                "leave the option out to use all cores",
            ));
        }
        Some(n) => compiler = compiler.threads(n),
        None => {}
    }
    Ok(compiler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("8GiB").unwrap(), 8 << 30);
        assert_eq!(size("1.5k").unwrap(), 1536);
        assert_eq!(size("500MB").unwrap(), 500_000_000);
        assert_eq!(size("12").unwrap(), 12);
        assert!(size("many").is_err() && size("").is_err() && size("8XB").is_err() && size("1e30").is_err());
    }

    #[test]
    fn pairs() {
        assert_eq!(dim("batch=64").unwrap(), ("batch", 64));
        assert_eq!(super::sizes("batch=1,64").unwrap(), ("batch", vec![1, 64]));
        assert_eq!(combinations(&["a=1,2".into(), "b=3".into()]).unwrap().len(), 2);
        assert!(dim("batch=1,64").is_err() && super::sizes("batch=1,").is_err());
        assert!(combinations(&[(0..2000).map(|i| i.to_string()).collect::<Vec<_>>().join(",")]).is_err());
        for bad in ["batch", "=3", "batch=", "batch=-1", "batch=x", "batch=9999999999999999999"] {
            assert!(dim(bad).is_err(), "{bad}");
        }
    }
}
