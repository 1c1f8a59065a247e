//! Datasets from files: what is checked, which samples a batch holds, prefetching, resuming.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlc_diag::{Diagnostics, SourceId, Span};
use mlc_ir::DType;
use mlc_ir::program::{
    DatasetSpec, FieldDim, FieldSpec, PipelineSpec, RandomSpec, ShuffleSpec, SourceKind, SourceSpec,
};

use super::*;
use crate::files::{Cache, npy};
use crate::host::HostTensor;

fn options() -> LoadOptions {
    LoadOptions { cache: Cache::disabled(), seed: 3, fed: BTreeMap::new() }
}

/// A field; dims that are numbers are known, others names.
fn field(name: &str, dtype: DType, dims: &[&str], kind: Option<SourceKind>) -> FieldSpec {
    let dim = |d: &&str| d.parse().map_or_else(|_| FieldDim::Named(d.to_string()), FieldDim::Known);
    FieldSpec {
        name: name.to_string(),
        dtype,
        dims: dims.iter().map(dim).collect(),
        shared: false,
        source: kind.map(SourceSpec::new),
        span: Span::new(SourceId(0), 0, 1),
    }
}

fn shared(field: FieldSpec, index: &[i64]) -> FieldSpec {
    let source = field.source.map(|s| SourceSpec { index: index.to_vec(), ..s });
    FieldSpec { shared: true, source, ..field }
}

fn npy_at(path: &str) -> Option<SourceKind> {
    Some(SourceKind::Npy { path: PathBuf::from(path) })
}

fn random(rows: u64) -> Option<SourceKind> {
    Some(SourceKind::Random(RandomSpec { rows, low: Some(0.0), high: Some(100.0), seed: None }))
}

fn spec(dir: &Path, fields: Vec<FieldSpec>) -> DatasetSpec {
    DatasetSpec { name: "D".to_string(), fields, base_dir: dir.to_path_buf(), span: Span::NONE }
}

/// `x: i32[2]`, sample `i` being `[10 i, 10 i + 1]`, and `y: u8`, sample `i` being `i`.
fn numbered(n: usize) -> (tempfile::TempDir, DatasetSpec) {
    let dir = tempfile::tempdir().unwrap();
    let x: Vec<i32> = (0..n as i32).flat_map(|i| [10 * i, 10 * i + 1]).collect();
    let y: Vec<u8> = (0..n).map(|i| i as u8).collect();
    npy::write(&dir.path().join("x.npy"), HostTensor::from_slice(&[n, 2], &x).unwrap().view()).unwrap();
    npy::write(&dir.path().join("y.npy"), HostTensor::from_slice(&[n], &y).unwrap().view()).unwrap();
    let x = field("x", DType::I32, &["2"], npy_at("x.npy"));
    let spec = spec(dir.path(), vec![x, field("y", DType::U8, &[], npy_at("y.npy"))]);
    (dir, spec)
}

fn load(spec: &DatasetSpec) -> Arc<Dataset> {
    Arc::new(Dataset::load(spec, &options()).unwrap())
}

fn codes(result: Result<Dataset, Diagnostics>) -> Vec<&'static str> {
    result.unwrap_err().iter().map(|d| d.code).collect()
}

fn batched(batch: u64) -> PipelineSpec {
    PipelineSpec { batch: Some(batch), ..PipelineSpec::default() }
}

fn shuffled_by(seed: Option<u64>, batch: u64) -> PipelineSpec {
    PipelineSpec { shuffle: Some(ShuffleSpec { seed }), ..batched(batch) }
}

fn stream(dataset: &Arc<Dataset>, pipeline: PipelineSpec) -> Stream {
    Stream::new(vec![(dataset.clone(), pipeline)], StreamOptions::default()).unwrap()
}

fn loader(stream: Stream, prefetch: usize, start: Position, epochs: u64) -> Loader {
    Loader::new(stream, LoaderOptions { prefetch, start, epochs: Some(epochs), ..Default::default() })
        .unwrap()
}

/// The field `y` of every batch, epoch by epoch, to the end.
fn labels(loader: &mut Loader) -> Vec<Vec<Vec<u8>>> {
    let mut epochs = vec![];
    loop {
        let mut epoch = vec![];
        while let Some(batch) = loader.next_batch().unwrap() {
            let y = batch.get("y").unwrap().as_slice::<u8>().unwrap().to_vec();
            if let Some(x) = batch.get("x") {
                let expected: Vec<i32> =
                    y.iter().flat_map(|&i| [10 * i32::from(i), 10 * i32::from(i) + 1]).collect();
                assert_eq!((x.shape, x.as_slice::<i32>().unwrap()), (&[y.len(), 2][..], &expected[..]));
            }
            assert_eq!(batch.rows(), y.len());
            epoch.push(y);
        }
        if epoch.is_empty() {
            return epochs;
        }
        epochs.push(epoch);
    }
}

fn all(dataset: &Arc<Dataset>, pipeline: PipelineSpec, epochs: u64) -> Vec<Vec<Vec<u8>>> {
    labels(&mut loader(stream(dataset, pipeline), 0, Position::default(), epochs))
}

#[test]
fn batches_in_file_order() {
    let (_dir, spec) = numbered(7);
    let d = load(&spec);
    assert_eq!(d.rows(), Some(7));
    assert_eq!(all(&d, batched(3), 2), vec![vec![vec![0, 1, 2], vec![3, 4, 5], vec![6]]; 2]);
    let whole = PipelineSpec { drop_last: true, ..batched(3) };
    assert_eq!(all(&d, whole, 1), [[[0, 1, 2], [3, 4, 5]]]);
    let some = PipelineSpec { skip: 2, take: Some(3), ..batched(2) };
    assert_eq!(all(&d, some, 1), [vec![vec![2, 3], vec![4]]]);
    assert_eq!(all(&d, PipelineSpec::default(), 1), [[[0, 1, 2, 3, 4, 5, 6]]]);
    assert_eq!(all(&d, batched(u64::MAX), 1), [[[0, 1, 2, 3, 4, 5, 6]]]);
    assert_eq!(stream(&d, batched(3)).rows_per_epoch(), 7);
}

#[test]
fn shuffling_covers_each_epoch_anew() {
    let (_dir, spec) = numbered(50);
    let d = load(&spec);
    let part = PipelineSpec { skip: 10, take: Some(30), ..shuffled_by(None, 7) };
    let epochs = all(&d, part.clone(), 3);
    for epoch in &epochs {
        let mut seen = epoch.concat();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(10..40));
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    // The documented order of the run's seed, 0, over the samples taken.
    let mut order = vec![];
    shuffled(0, 1, 30, &mut order);
    assert!(epochs[1].concat().into_iter().eq(order.iter().map(|&i| i as u8 + 10)));
    let other = |seed, shuffle| {
        let s = Stream::new(vec![(d.clone(), part.clone())], StreamOptions { seed, shuffle }).unwrap();
        labels(&mut loader(s, 0, Position::default(), 1))
    };
    assert_ne!(other(1, true)[0], epochs[0]);
    assert!(other(1, false)[0].concat().into_iter().eq(10..40));
    assert_eq!(all(&d, shuffled_by(Some(9), 7), 1), all(&d, shuffled_by(Some(9), 7), 1));
}

#[test]
fn prefetching_changes_nothing() {
    let (_dir, spec) = numbered(50);
    let d = load(&spec);
    let expected = all(&d, shuffled_by(Some(4), 8), 5);
    for prefetch in [1, 2, 7, 1000] {
        let s = stream(&d, shuffled_by(Some(4), 8));
        assert_eq!(labels(&mut loader(s, prefetch, Position::default(), 5)), expected);
    }
}

#[test]
fn resuming_anywhere() {
    let (_dir, spec) = numbered(20);
    let d = load(&spec);
    let make = |start, prefetch| loader(stream(&d, shuffled_by(None, 6)), prefetch, start, 3);
    let y = |b: &Batch| b.get("y").unwrap().as_slice::<u8>().unwrap().to_vec();
    for stop in 0..14 {
        let mut first = make(Position::default(), 2);
        for _ in 0..stop {
            first.next_batch().unwrap();
        }
        let text = serde_json::to_string(&first.position()).unwrap();
        let mut second = make(serde_json::from_str(&text).unwrap(), stop % 3);
        for _ in 0..20 {
            let (a, b) = (first.next_batch().unwrap(), second.next_batch().unwrap());
            assert_eq!(a.as_ref().map(y), b.as_ref().map(y));
            assert_eq!(a.map(|a| a.position()), b.map(|b| b.position()));
        }
        assert_eq!(first.position(), second.position());
    }
    let beyond = Position { epoch: 0, batch: 5 };
    let opened = Loader::new(stream(&d, batched(6)), LoaderOptions { start: beyond, ..Default::default() });
    assert_eq!(opened.err().unwrap().code, "E0718");
}

#[test]
fn loaders_can_be_dropped_at_any_time() {
    let (_dir, spec) = numbered(20);
    let d = load(&spec);
    for taken in 0..5 {
        let mut l = Loader::new(stream(&d, batched(3)), LoaderOptions::default()).unwrap();
        let kept: Vec<_> = (0..taken).map(|_| l.next_batch().unwrap()).collect();
        drop(l);
        assert_eq!(kept.len(), taken);
    }
}

#[test]
fn buffers_come_back() {
    let (_dir, spec) = numbered(64);
    let d = load(&spec);
    let mut l = loader(stream(&d, batched(8)), 0, Position::default(), 10);
    let at = |b: &Batch| b.get("x").unwrap().bytes.as_ptr() as usize;
    let first = at(&l.next_batch().unwrap().unwrap());
    for _ in 0..7 {
        assert_eq!(at(&l.next_batch().unwrap().unwrap()), first);
    }
    assert_eq!(first % 64, 0);
}

#[test]
fn buffers_of_batches_held_at_once_come_back() {
    let (_dir, spec) = numbered(128);
    let d = load(&spec);
    let options = LoaderOptions { prefetch: 0, held: 8, ..Default::default() };
    let mut l = Loader::new(stream(&d, batched(8)), options).unwrap();
    let mut addresses = || -> Vec<usize> {
        let held: Vec<Batch> = (0..8).map(|_| l.next_batch().unwrap().unwrap()).collect();
        held.iter().map(|b| b.get("x").unwrap().bytes.as_ptr() as usize).collect()
    };
    let (mut first, mut second) = (addresses(), addresses());
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!(first, second);
}

#[test]
fn zip_ends_with_the_shorter() {
    let (_dir, a) = numbered(10);
    let b = spec(Path::new(""), vec![field("z", DType::F32, &["3"], random(25))]);
    let parts = vec![
        (load(&a), shuffled_by(None, 4)),
        (load(&b), PipelineSpec { batch_dim: "other".to_string(), ..batched(10) }),
    ];
    let s = Stream::new(parts, StreamOptions::default()).unwrap();
    assert_eq!(s.batches_per_epoch(), 3);
    let mut l = loader(s, 2, Position::default(), 1);
    let mut sizes = vec![];
    while let Some(b) = l.next_batch().unwrap() {
        assert_eq!(b.get("z").unwrap().shape[1], 3);
        sizes.push(b.dims().map(|(n, k)| (n.to_string(), k)).collect::<Vec<_>>());
    }
    let pair = |a, b| vec![("batch".to_string(), a), ("other".to_string(), b)];
    assert_eq!(sizes, [pair(4, 10), pair(4, 10), pair(2, 5)]);
    let twice = vec![(load(&a), batched(1)), (load(&a), batched(1))];
    assert_eq!(Stream::new(twice, StreamOptions::default()).unwrap_err().code, "E0716");
}

#[test]
fn shared_fields_are_whole_and_bind_dims() {
    let dir = tempfile::tempdir().unwrap();
    let edges = HostTensor::from_slice(&[2, 3], &[1i64, 2, 3, 4, 5, 6]).unwrap();
    npy::write(&dir.path().join("edges.npy"), edges.view()).unwrap();
    npy::write(&dir.path().join("x.npy"), HostTensor::zeros(DType::F32, &[4, 5]).unwrap().view()).unwrap();
    let edge = |name, dim, i| shared(field(name, DType::I64, &[dim], npy_at("edges.npy")), &[i]);
    let x = shared(field("x", DType::F32, &["n", "5"], npy_at("x.npy")), &[]);
    let d = load(&spec(dir.path(), vec![x.clone(), edge("src", "e", 0), edge("dst", "e", -1)]));
    assert_eq!(d.bindings(), &BTreeMap::from([("e".to_string(), 3), ("n".to_string(), 4)]));
    let values: Vec<_> = d.shared().map(|(n, t)| (n, t.to_vec::<i64>())).collect();
    assert_eq!(values[1..], [("src", vec![1, 2, 3]), ("dst", vec![4, 5, 6])]);
    let s = stream(&d, PipelineSpec::default());
    assert_eq!((s.batches_per_epoch(), s.rows_per_epoch()), (1, 0));
    let mut l = loader(s, 2, Position::default(), 2);
    let ends: Vec<bool> = (0..4).map(|_| l.next_batch().unwrap().is_none()).collect();
    assert_eq!(ends, [false, true, false, true]);

    let both = Dataset::load(&spec(dir.path(), vec![x, edge("src", "n", 0)]), &options()).unwrap_err();
    let d = &both.0[0];
    assert!(d.code == "E0709" && d.title.contains("`n` is 4 in field `x`, but 3 in field `src`"), "{d:?}");
    assert_eq!(d.labels.len(), 2);
    assert_eq!(codes(Dataset::load(&spec(dir.path(), vec![edge("s", "e", 2)]), &options())), ["E0714"]);
    assert_eq!(codes(Dataset::load(&spec(dir.path(), vec![edge("s", "e", -3)]), &options())), ["E0714"]);
}

#[test]
fn declarations_are_held_against_files() {
    let (dir, _) = numbered(4);
    let one = |dtype, dims: &[&str], path| {
        let d = Dataset::load(&spec(dir.path(), vec![field("x", dtype, dims, npy_at(path))]), &options());
        d.map(drop).map_err(|e| e.0[0].clone())
    };
    assert_eq!(one(DType::I32, &["2"], "x.npy"), Ok(()));
    assert_eq!(one(DType::I32, &["k"], "x.npy"), Ok(()));
    let d = one(DType::I64, &["2"], "x.npy").unwrap_err();
    assert!(d.code == "E0706" && d.hint.unwrap().contains("`x.cast(i64)`"));
    for dims in [&["3"][..], &[], &["2", "1"], &["4", "2"]] {
        let d = one(DType::I32, dims, "x.npy").unwrap_err();
        assert!(d.code == "E0707" && d.hint.as_ref().unwrap().contains("i32[2]"), "{d:?}");
    }
    let d = one(DType::I32, &["2"], "z.npy").unwrap_err();
    assert!(d.code == "E0701" && d.labels.len() == 1, "{d:?}");
    npy::write(&dir.path().join("s.npy"), HostTensor::scalar(1i32).view()).unwrap();
    assert_eq!(one(DType::I32, &[], "s.npy").unwrap_err().code, "E0707");
}

#[test]
fn all_problems_come_at_once() {
    let (dir, _) = numbered(4);
    let fields = vec![
        field("x", DType::I64, &["2"], npy_at("x.npy")),
        field("y", DType::U8, &["9"], npy_at("y.npy")),
        field("z", DType::U8, &[], npy_at("z.npy")),
        field("i", DType::U8, &["3"], Some(SourceKind::Images { folder: "f".into(), size: 3 })),
    ];
    assert_eq!(
        codes(Dataset::load(&spec(dir.path(), fields), &options())),
        ["E0706", "E0707", "E0701", "E0715"]
    );
}

#[test]
fn lengths_and_emptiness() {
    let (dir, mut s) = numbered(4);
    let (_other, longer) = numbered(5);
    s.fields[1].source = Some(SourceSpec::new(SourceKind::Npy { path: longer.base_dir.join("y.npy") }));
    let d = Dataset::load(&s, &options()).unwrap_err().0.remove(0);
    assert_eq!(d.code, "E0708");
    assert!(
        d.labels[0].text.contains("has 5 samples") && d.labels[1].text.contains("`x.npy` has 4"),
        "{d:?}"
    );
    drop(dir);
    let (_dir, empty) = numbered(0);
    assert_eq!(codes(Dataset::load(&empty, &options())), ["E0713"]);

    let (_dir, s) = numbered(4);
    let d = load(&s);
    let bad = |p| Stream::new(vec![(d.clone(), p)], StreamOptions::default()).map(drop).unwrap_err().code;
    assert_eq!(bad(PipelineSpec { skip: 4, ..batched(1) }), "E0713");
    assert_eq!(bad(PipelineSpec { take: Some(0), ..batched(1) }), "E0713");
    assert_eq!(bad(PipelineSpec { drop_last: true, ..batched(5) }), "E0713");
    assert_eq!(bad(batched(0)), "E0716");
    assert_eq!(bad(PipelineSpec { skip: u64::MAX, ..Default::default() }), "E0713");
}

#[test]
fn windows_do_not_cross_files() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a", "abcdefg"), ("b", "x"), ("c", "0123")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let bytes = |window, stride| {
        let paths = ["a", "b", "c"].map(PathBuf::from).to_vec();
        Some(SourceKind::Bytes { paths, window, stride })
    };
    let d = load(&spec(dir.path(), vec![field("y", DType::U8, &["3"], bytes(Some(3), Some(2)))]));
    let mut l = loader(stream(&d, shuffled_by(None, 1)), 0, Position::default(), 1);
    let mut seen = vec![];
    while let Some(b) = l.next_batch().unwrap() {
        seen.push(String::from_utf8(b.get("y").unwrap().bytes.to_vec()).unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["012", "abc", "cde", "efg"]);
    let whole = shared(field("t", DType::U8, &["n"], bytes(None, None)), &[]);
    let d = load(&spec(dir.path(), vec![whole]));
    assert_eq!(d.shared().next().unwrap().1.bytes(), b"abcdefgx0123");
    for (window, stride) in [(Some(0), None), (Some(3), Some(0))] {
        let s = spec(dir.path(), vec![field("y", DType::U8, &["3"], bytes(window, stride))]);
        assert_eq!(codes(Dataset::load(&s, &options())), ["E0716"]);
    }
    let s = spec(dir.path(), vec![field("y", DType::U8, &["9"], bytes(Some(9), None))]);
    assert_eq!(codes(Dataset::load(&s, &options())), ["E0713"]);
}

#[test]
fn csv_columns_per_sample() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.csv"), "a,b,c\n1,2,1\n3,4,0\n").unwrap();
    let columns = |names: &[&str]| {
        let columns = names.iter().map(|c| c.to_string()).collect();
        Some(SourceKind::Csv { path: PathBuf::from("t.csv"), columns })
    };
    let d = load(&spec(
        dir.path(),
        vec![
            field("x", DType::F32, &["2"], columns(&["b", "a"])),
            field("y", DType::U8, &[], columns(&["c"])),
            field("z", DType::I64, &["1"], columns(&["c"])),
        ],
    ));
    let mut l = loader(stream(&d, batched(2)), 0, Position::default(), 1);
    let b = l.next_batch().unwrap().unwrap();
    assert_eq!(b.get("x").unwrap().as_slice::<f32>().unwrap(), [2., 1., 4., 3.]);
    assert_eq!((b.get("y").unwrap().shape, b.get("z").unwrap().shape), (&[2][..], &[2, 1][..]));
}

#[test]
fn fed_fields() {
    let (_dir, mut s) = numbered(3);
    s.fields.push(field("w", DType::F32, &["k"], None));
    let d = load(&s);
    assert_eq!(d.fed().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["w"]);
    let refused = Stream::new(vec![(d, batched(1))], StreamOptions::default()).unwrap_err();
    assert!(refused.code == "E0717" && refused.title.contains("`w`"));
    let feed = |rows| {
        let w = HostTensor::zeros(DType::F32, &[rows, 4]).unwrap();
        let fed = BTreeMap::from([("w".to_string(), w)]);
        Dataset::load(&s, &LoadOptions { fed, ..options() })
    };
    assert_eq!(feed(3).unwrap().bindings()["k"], 4);
    assert_eq!(codes(feed(2)), ["E0708"]);
}

#[test]
fn random_data_follows_seed_and_field() {
    let make = |name: &str, seed| {
        let s = spec(Path::new(""), vec![shared(field(name, DType::F32, &["8"], random(0)), &[])]);
        let d = Dataset::load(&s, &LoadOptions { seed, ..options() }).unwrap();
        d.shared().next().unwrap().1.clone()
    };
    assert_eq!(make("a", 1), make("a", 1));
    assert_ne!(make("a", 1), make("a", 2));
    assert_ne!(make("a", 1), make("b", 1));
    let s = spec(Path::new(""), vec![field("a", DType::F32, &["n"], random(4))]);
    assert_eq!(codes(Dataset::load(&s, &options())), ["E0716"]);
}

fn mnist(split: &str) -> DatasetSpec {
    let path = |kind: &str| Some(SourceKind::Idx { path: PathBuf::from(format!("{split}-{kind}-ubyte.gz")) });
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mnist");
    let image = field("image", DType::U8, &["28", "28"], path("images-idx3"));
    spec(Path::new(folder), vec![image, field("label", DType::U8, &[], path("labels-idx1"))])
}

/// Counts and checksums as another program reads them from the same files.
#[test]
fn mnist_is_what_it_should_be() {
    let facts = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/files/mnist.json");
    let facts: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(facts).unwrap()).unwrap();
    let crc = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut crc = flate2::Crc::new();
        parts.for_each(|p| crc.update(p));
        u64::from(crc.sum())
    };
    let cache = tempfile::tempdir().unwrap();
    for (split, steps) in [("train", 938), ("t10k", 157), ("t10k", 157)] {
        let options = LoadOptions { cache: Cache::at(cache.path()), ..options() };
        let d = Arc::new(Dataset::load(&mnist(split), &options).unwrap());
        let f = &facts[split];
        assert_eq!(d.rows().map(|r| r as u64), f["rows"].as_u64());
        let s = stream(&d, batched(64));
        assert_eq!(s.batches_per_epoch(), steps);
        let mut l = loader(s, 2, Position::default(), 1);
        let mut all = flate2::Crc::new();
        let mut rows = 0;
        while let Some(b) = l.next_batch().unwrap() {
            let bytes = |name| b.get(name).unwrap().bytes;
            if rows == 0 {
                assert_eq!(Some(crc(&mut [bytes("image")].into_iter())), f["image_crc"].as_u64());
                assert_eq!(Some(crc(&mut [bytes("label")].into_iter())), f["label_crc"].as_u64());
            }
            all.update(bytes("image"));
            rows += b.rows();
        }
        assert_eq!((Some(rows), Some(u64::from(all.sum()))), (d.rows(), f["all_images_crc"].as_u64()));
    }
}
