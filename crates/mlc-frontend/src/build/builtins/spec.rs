//! Functions that stand in train blocks, datasets and tests only: their values are settings.

use std::path::PathBuf;
use std::rc::Rc;

use mlc_ir::program::{DataSpec, RandomSpec, SourceKind, SourceSpec};

use super::{Args, Builtin};
use crate::build::fail::{R, error, fail};
use crate::build::interp::Interp;
use crate::build::value::{EmaSpec, Figure, Spec, Value};

pub const TABLE: &[Builtin] = &[
    Builtin {
        name: "ema",
        params: "model decay? every?",
        run: ema,
        doc: "In a train block: an untrained copy, decay * copy + (1 - decay) * model after each step.",
    },
    Builtin {
        name: "patience",
        params: "max? min? validations?",
        run: patience,
        doc: "In a train block's `stop`: end after this many validations without improvement.",
    },
    Builtin {
        name: "best",
        params: "path max? min?",
        run: best,
        doc: "In a train block's `save`: keep the best validation.",
    },
    Builtin {
        name: "mixed",
        params: "dtype scale? growth? backoff? interval? floor?",
        run: mixed,
        doc: "In a train block's `precision`.",
    },
    Builtin {
        name: "zip",
        params: "a b c? d?",
        run: zip,
        doc: "Several data pipelines side by side; or the tuples of several compile-time lists.",
    },
    Builtin { name: "idx", params: "path", run: source, doc: "A file in MNIST's idx format." },
    Builtin { name: "npy", params: "path", run: source, doc: "A NumPy array." },
    Builtin { name: "npz", params: "path key?", run: source, doc: "An array of a NumPy archive." },
    Builtin { name: "safetensors", params: "path key?", run: source, doc: "A tensor of a safetensors file." },
    Builtin {
        name: "csv",
        params: "path columns?",
        run: source,
        doc: "Columns of a CSV file with a header.",
    },
    Builtin {
        name: "bytes",
        params: "paths window? stride?",
        run: source,
        doc: "Windows of the bytes of files.",
    },
    Builtin {
        name: "images",
        params: "folder size",
        run: source,
        doc: "The images in the folders of a folder.",
    },
    Builtin {
        name: "folder_labels",
        params: "folder",
        run: source,
        doc: "The index of each image's folder.",
    },
    Builtin {
        name: "random",
        params: "rows? low? high? seed?",
        run: source,
        doc: "Random samples, the same on every machine.",
    },
    Builtin {
        name: "gradcheck",
        params: "f x? y? z?",
        run: figure,
        doc: "In a test: derivatives against finite differences.",
    },
    Builtin {
        name: "kernels",
        params: "f",
        run: figure,
        doc: "In a test: the number of kernels of an entry.",
    },
    Builtin {
        name: "peak",
        params: "f",
        run: figure,
        doc: "In a test: the peak memory of an entry, in bytes.",
    },
];

fn ema<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let Value::Instance(of) = args.value("model")? else {
        return fail(
            "E0405",
            args.span_of("model"),
            format!("`ema` follows a model instance, this is {}", args.value("model")?.kind()),
        );
    };
    let decay = match args.get("decay").map(|v| v.as_f64()) {
        None => 0.999,
        Some(Some(d)) if (0.0..=1.0).contains(&d) => d,
        Some(_) => return fail("E0405", args.span_of("decay"), "`decay` must be a known number from 0 to 1"),
    };
    let every = args.int(cx, "every")?.unwrap_or(1);
    let Some(every) = u64::try_from(every).ok().filter(|&n| n > 0) else {
        return fail("E0405", args.span_of("every"), "`every` must be at least 1");
    };
    Ok(Value::Ema(Rc::new(EmaSpec { of: *of, decay, every, span: args.span })))
}

fn spec<'a>(name: &'static str, args: &Args<'a>, names: &[&'static str]) -> Value<'a> {
    let given = names.iter().filter_map(|n| args.get(n).map(|v| (*n, v.clone()))).collect();
    Value::Spec(Rc::new(Spec { name, args: given, span: args.span }))
}

/// Exactly one of `max` and `min` says what is better.
fn one_direction(args: &Args<'_>) -> R<()> {
    if args.get("max").is_some() != args.get("min").is_some() {
        return Ok(());
    }
    Err(error("E0405", args.span, format!("`{}` needs one of `max:` and `min:`", args.name()))
        .hint("for example `max: \"accuracy\"` or `min: \"loss\"`")
        .into())
}

fn patience<'a>(_: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    one_direction(&args)?;
    args.value("validations")?;
    Ok(spec("patience", &args, &["max", "min", "validations"]))
}

fn best<'a>(_: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    one_direction(&args)?;
    Ok(spec("best", &args, &["path", "max", "min"]))
}

fn mixed<'a>(_: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    args.dtype("dtype")?;
    Ok(spec("mixed", &args, &["dtype", "scale", "growth", "backoff", "interval", "floor"]))
}

fn zip<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let given: Vec<Value<'a>> = ["a", "b", "c", "d"].iter().filter_map(|n| args.get(n).cloned()).collect();
    if given.iter().all(|v| matches!(v, Value::Data(_))) {
        let mut parts = vec![];
        for v in &given {
            if let Value::Data(d) = v {
                parts.extend(d.parts.iter().cloned());
            }
        }
        return Ok(Value::Data(Rc::new(DataSpec { parts })));
    }
    let lists: Vec<Vec<Value<'a>>> = given.iter().map(|v| cx.iterate(v, args.span)).collect::<R<_>>()?;
    let n = lists.first().map_or(0, Vec::len);
    if lists.iter().any(|l| l.len() != n) {
        return fail("E0306", args.span, "`zip` of lists of different lengths");
    }
    Ok(Value::list((0..n).map(|i| Value::tuple(lists.iter().map(|l| l[i].clone()).collect())).collect()))
}

fn source<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let count = |name: &str| -> R<Option<u64>> {
        match args.int(cx, name)? {
            None => Ok(None),
            Some(n) => match u64::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => fail("E0405", args.span_of(name), format!("`{name}` cannot be negative")),
            },
        }
    };
    let number = |name: &str| -> R<Option<f64>> {
        match args.get(name) {
            None => Ok(None),
            Some(v) => match v.as_f64() {
                Some(x) => Ok(Some(x)),
                None => fail("E0305", args.span_of(name), format!("`{name}` must be a known number")),
            },
        }
    };
    let key = || args.get("key").map(|_| args.str("key")).transpose();
    let path = |name: &str| args.str(name).map(PathBuf::from);
    let kind = match args.name() {
        "idx" => SourceKind::Idx { path: path("path")? },
        "npy" => SourceKind::Npy { path: path("path")? },
        "npz" => SourceKind::Npz { path: path("path")?, key: key()? },
        "safetensors" => SourceKind::Safetensors { path: path("path")?, key: key()? },
        "csv" => SourceKind::Csv { path: path("path")?, columns: strings(&args, "columns")? },
        "bytes" => SourceKind::Bytes {
            paths: strings(&args, "paths")?.into_iter().map(PathBuf::from).collect(),
            window: count("window")?,
            stride: count("stride")?,
        },
        "images" => SourceKind::Images { folder: path("folder")?, size: count("size")?.unwrap_or(0) },
        "folder_labels" => SourceKind::FolderLabels { folder: path("folder")? },
        _ => SourceKind::Random(RandomSpec {
            rows: count("rows")?.unwrap_or(0),
            low: number("low")?,
            high: number("high")?,
            seed: count("seed")?,
        }),
    };
    Ok(Value::Source(Rc::new(SourceSpec { kind, index: vec![], span: args.span })))
}

/// A string or a list of strings.
fn strings(args: &Args<'_>, name: &str) -> R<Vec<String>> {
    match args.get(name) {
        None => Ok(vec![]),
        Some(Value::List(items)) => items
            .iter()
            .map(|v| match v {
                Value::Str(s) => Ok(s.to_string()),
                v => {
                    fail("E0305", args.span_of(name), format!("`{name}` takes strings, this is {}", v.kind()))
                }
            })
            .collect(),
        Some(_) => Ok(vec![args.str(name)?]),
    }
}

fn figure<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let figure = cx.test_figure(&args)?;
    Ok(Value::Figure(Rc::new(figure)))
}

impl<'a> Interp<'a> {
    fn test_figure(&mut self, args: &Args<'a>) -> R<Figure> {
        let f = args.value("f")?;
        match (args.name(), f) {
            ("gradcheck", _) => {
                let mut xs = vec![];
                for n in ["x", "y", "z"] {
                    if args.get(n).is_some() {
                        xs.push(args.tensor(self, n)?);
                    }
                }
                self.gradcheck(f.clone(), &xs, args.span).map(Figure::GradCheck)
            }
            (name, f) => {
                let entry = self.figure_entry(f, args.span_of("f"))?;
                Ok(if name == "kernels" { Figure::Kernels(entry) } else { Figure::Peak(entry) })
            }
        }
    }
}
