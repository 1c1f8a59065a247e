//! Readers against files that NumPy, PyTorch and safetensors wrote; damage of every kind; writers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use half::f16;
use mlc_ir::DType;

use super::*;
use crate::host::AlignedBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/files").join(name)
}

fn none() -> Cache {
    Cache::disabled()
}

fn load(name: &str) -> Result<HostTensor, Diagnostic> {
    let path = fixture(name);
    read_one(&FileRef { path, key: None }, &none())
}

/// The fixtures' values, as their script defines them.
fn expected(dtype: DType) -> HostTensor {
    let floats: Vec<f64> = (0..24).map(|k| f64::from(k) * 0.75 - 3.25).collect();
    let ints: Vec<i64> = (0..24).map(|k| k * 7 - 20).collect();
    let bools: Vec<bool> = (0..24).map(|k| k % 3 == 0).collect();
    let shape = [2, 3, 4];
    match dtype {
        DType::Bool => HostTensor::from_bools(&shape, &bools).unwrap(),
        d if d.is_float() => HostTensor::from_slice(&shape, &floats).unwrap().cast(d),
        d => HostTensor::from_slice(&shape, &ints).unwrap().cast(d),
    }
}

const KINDS: [(&str, DType); 11] = [
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("u1", DType::U8),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("b1", DType::Bool),
];

/// 16 unsigned bits come as i32.
fn expected_u16() -> HostTensor {
    let values: Vec<i32> = (0..24).map(|k| (k * 7 - 20) & 0xffff).collect();
    HostTensor::from_slice(&[2, 3, 4], &values).unwrap()
}

#[test]
fn npy_in_every_dtype_and_layout() {
    for suffix in ["", "_fortran", "_big"] {
        for (kind, dtype) in KINDS {
            if suffix == "_big" && dtype.size() == 1 {
                continue;
            }
            let name = format!("{kind}{suffix}.npy");
            assert_eq!(load(&name).unwrap(), expected(dtype), "{name}");
        }
        assert_eq!(load(&format!("u2{suffix}.npy")).unwrap(), expected_u16());
    }
    for name in ["f4_big_fortran.npy", "version2.npy", "version3.npy", "f4.npy.gz"] {
        assert_eq!(load(name).unwrap(), expected(DType::F32), "{name}");
    }
    assert_eq!(load("scalar.npy").unwrap(), HostTensor::scalar(2.5f32));
    assert_eq!(load("empty.npy").unwrap().shape(), [0, 5]);
}

#[test]
fn npy_without_a_dtype() {
    for name in ["complex.npy", "strings.npy"] {
        assert_eq!(load(name).unwrap_err().code, "E0704", "{name}");
    }
    assert_eq!(load("fp8.safetensors").unwrap_err().code, "E0704");
    assert!(load("structured.npy").unwrap_err().title.contains("structured"));
}

#[test]
fn idx_in_every_dtype() {
    let kinds = [("u1", DType::U8), ("i1", DType::I8), ("i2", DType::I16), ("i4", DType::I32)];
    for (kind, dtype) in kinds.into_iter().chain([("f4", DType::F32), ("f8", DType::F64)]) {
        assert_eq!(load(&format!("{kind}.idx")).unwrap(), expected(dtype), "{kind}");
    }
    assert_eq!(load("f8.idx.gz").unwrap(), expected(DType::F64));
}

#[test]
fn npz_by_key() {
    for (name, keys) in [("stored.npz", ["x", "y"]), ("deflated.npz", ["big", "x"])] {
        let mut npz = npz::Npz::open(&fixture(name), &none()).unwrap();
        assert_eq!(npz.keys(), keys);
        assert_eq!(npz.tensor(Some("x")).unwrap(), expected(DType::F32));
        let missing = npz.tensor(Some("z")).unwrap_err();
        assert!(missing.code == "E0705" && missing.notes[0].contains(keys[0]), "{missing:?}");
        assert_eq!(npz.tensor(None).unwrap_err().code, "E0705");
    }
    assert_eq!(load("single.npz").unwrap(), expected(DType::U8));
    let all = read_all(&fixture("deflated.npz"), &none()).unwrap();
    assert_eq!(all[0].1, HostTensor::zeros(DType::F32, &[100_000]).unwrap());
}

#[test]
fn safetensors_in_every_dtype() {
    let file = safetensors::SafetensorsFile::open(&fixture("numpy.safetensors"), &none()).unwrap();
    for (kind, dtype) in KINDS {
        assert_eq!(file.tensor(Some(kind)).unwrap(), expected(dtype), "{kind}");
    }
    assert_eq!(file.tensor(Some("u2")).unwrap(), expected_u16());
    assert_eq!(file.metadata()["who"], "numpy");
    let file = safetensors::SafetensorsFile::open(&fixture("torch.safetensors"), &none()).unwrap();
    assert_eq!(file.keys(), ["bf16", "fc1.weight"]);
    assert_eq!(file.tensor(Some("bf16")).unwrap(), expected(DType::F32).cast(DType::BF16));
    assert_eq!(file.info("fc1.weight").unwrap(), ("F32", &[2, 3, 4][..]));
    assert_eq!(file.tensor(Some("fc2.weight")).unwrap_err().code, "E0705");
}

/// Every beginning of a file is an error; no change of one byte makes a reader panic.
#[test]
fn damaged_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "f4.npy",
        "b1_fortran.npy",
        "version2.npy",
        "f4.npy.gz",
        "single.npz",
        "f8.idx.gz",
        "i2.idx",
        "stored.npz",
        "torch.safetensors",
        "scalar.npy",
    ] {
        let bytes = fs::read(fixture(name)).unwrap();
        let path = dir.path().join(name);
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            match read_one(&FileRef { path: path.clone(), key: None }, &none()) {
                Err(d) if d.code == "E0705" => read_all(&path, &none()).map(drop),
                other => other.map(drop),
            }
        };
        assert!(read(&bytes).is_ok(), "{name}");
        for len in 0..bytes.len() {
            let d = read(&bytes[..len]).expect_err(name);
            assert!(matches!(d.code, "E0702" | "E0705"), "{name}, {len} bytes: {d:?}");
        }
        for garbage in [&b"\0"[..], b"xy", &[0xff; 100]] {
            let longer = [&bytes, garbage].concat();
            // What follows a zip's directory may be a comment; nothing else may follow anything.
            assert!(read(&longer).is_err() || name.ends_with(".npz"), "{name}");
        }
        for i in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[i] ^= change;
                let _ = read(&changed);
            }
        }
    }
}

#[test]
fn checksums_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f8.idx.gz");
    let mut bytes = fs::read(fixture("f8.idx.gz")).unwrap();
    let n = bytes.len();
    bytes[n - 8] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(idx::read(&path, &none()).unwrap_err().code, "E0702");
    // A stored entry's data, changed.
    let mut bytes = fs::read(fixture("single.npz")).unwrap();
    let at = bytes.windows(6).position(|w| w == b"\x93NUMPY").unwrap() + 130;
    bytes[at] ^= 1;
    let path = dir.path().join("single.npz");
    fs::write(&path, &bytes).unwrap();
    assert!(npz::Npz::open(&path, &none()).unwrap().tensor(None).unwrap_err().title.contains("checksum"));
}

#[test]
fn absurd_headers() {
    let dir = tempfile::tempdir().unwrap();
    let npy = |shape: &str| {
        let text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n");
        [&b"\x93NUMPY\x01\0"[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    };
    let st = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let gz = |bytes: &[u8]| {
        let mut w = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        w.write_all(bytes).unwrap();
        w.finish().unwrap()
    };
    let idx = [&[0, 0, 0x0e, 3][..], &[0xff; 12]].concat();
    let small = [&[0, 0, 8, 1][..], &100u32.to_be_bytes()].concat();
    let bomb = gz(&[&small, &vec![0; 10_000_000][..]].concat());
    let overflow = r#"{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]},
        "b":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[9223372036854775807,18446744073709551615]}}"#;
    let twice = r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    for (name, bytes) in [
        ("a.npy", npy("(1000000000, 1000000000)")),
        ("b.npy", npy("(18446744073709551615, 18446744073709551615)")),
        ("c.npy", npy("(1000000000000,)")),
        ("d.npy", [&b"\x93NUMPY\x02\0"[..], &[0xff; 4], b"{}"].concat()),
        ("g.npy", npy("(5, 1152921504606846976, 1152921504606846976, 0)")),
        ("e.npy", npy(&format!("({})", "1, ".repeat(100)))),
        ("f.npy.gz", gz(&npy("(1000000000000,)"))),
        ("a.idx", idx.clone()),
        ("b.idx", vec![0, 0, 8, 255]),
        ("c.idx", vec![0, 0, 7, 1, 0, 0, 0, 0]),
        ("d.idx.gz", gz(&idx)),
        ("e.idx.gz", bomb),
        ("a.safetensors", vec![0xff; 8]),
        ("b.safetensors", st(overflow)),
        ("c.safetensors", st(twice)),
        (
            "d.safetensors",
            st(r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#),
        ),
        ("e.safetensors", st(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#)),
        ("f.safetensors", st(&format!("{}1", "[".repeat(10_000)))),
        ("g.safetensors", st(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#)),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let d = read_one(&FileRef { path, key: None }, &none()).expect_err(name);
        assert_eq!(d.code, "E0702", "{name}: {d:?}");
    }
}

#[test]
fn files_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let d = npy::read(&dir.path().join("no/where/x.npy"), &none()).unwrap_err();
    assert!(d.code == "E0701" && d.notes[0].ends_with("/no`"), "{d:?}");
    let d = npy::read(dir.path(), &none()).unwrap_err();
    assert!(d.code == "E0701" && d.title.contains("folder"), "{d:?}");
    assert_eq!(load("x.jpeg").unwrap_err().code, "E0703");
}

fn table(text: &str, columns: &[&str], dtype: DType) -> Result<HostTensor, Diagnostic> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    fs::write(&path, text).unwrap();
    let columns: Vec<String> = columns.iter().map(|c| c.to_string()).collect();
    csv::read(&path, &none(), &columns, dtype)
}

#[test]
fn csv_by_column() {
    let text = "\u{feff}x, y ,\"the label\"\n0.5, 1e-3,1\n\"-2\",inf,0\n";
    let t = table(text, &["y", "x"], DType::F32).unwrap();
    assert_eq!((t.shape(), t.to_vec::<f32>()), (&[2, 2][..], vec![1e-3, 0.5, f32::INFINITY, -2.0]));
    assert_eq!(table(text, &["the label"], DType::Bool).unwrap().bytes(), [1, 0]);
    assert_eq!(
        table(text, &["x"], DType::F16).unwrap().to_vec::<f16>(),
        [f16::from_f32(0.5), f16::from_f32(-2.0)]
    );
    assert_eq!(table("a,b\n1,2\n", &[], DType::I64).unwrap().to_vec::<i64>(), [1, 2]);
    assert_eq!(table("a,b\n", &[], DType::I64).unwrap().shape(), [0, 2]);
}

#[test]
fn csv_errors_name_the_place() {
    let fault = |text, columns: &[&str], dtype| {
        let d = table(text, columns, dtype).unwrap_err();
        (d.code, d.title)
    };
    let (code, title) = fault("a,b\n1,2\n\n3,x\n", &["b"], DType::I32);
    assert_eq!(code, "E0710");
    assert!(title.contains("line 4") && title.contains("`b`") && title.contains("`x` is not"), "{title}");
    assert!(fault("a\n300\n", &["a"], DType::U8).1.contains("`300` is not a value of type u8"));
    assert!(fault("a,b\n1,\n", &["b"], DType::F32).1.contains("empty cell"));
    assert_eq!(fault("a\n1\n", &["z"], DType::F32).0, "E0705");
    let (code, title) = fault("a,b\n1,2\n3\n", &["a"], DType::F32);
    assert!(code == "E0702" && title.contains("line 3 has 1"), "{title}");
    assert!(fault("a,a\n1,2\n", &["a"], DType::F32).1.contains("twice"));
    assert_eq!(fault("a\n\u{0}\n", &["a"], DType::F32).0, "E0710");
}

#[test]
fn npy_is_written_as_numpy_does() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, dtype) in KINDS {
        let path = dir.path().join("x.npy");
        npy::write(&path, expected(dtype).view()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(fixture(&format!("{kind}.npy"))).unwrap(), "{kind}");
    }
    let bf16 = expected(DType::BF16);
    assert_eq!(npy::write(&dir.path().join("y.npy"), bf16.view()).unwrap_err().code, "E0704");
    assert!(!dir.path().join("y.npy").exists());
}

#[test]
fn archives_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let tensors: Vec<(String, HostTensor)> = DType::ALL.map(|d| (format!("t.{d}"), expected(d))).to_vec();
    let views: Vec<_> = tensors.iter().map(|(k, t)| (k.as_str(), t.view())).collect();
    let mut sorted = tensors.clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let path = dir.path().join("w.safetensors");
    let metadata = BTreeMap::from([("step".to_string(), "7".to_string())]);
    safetensors::write(&path, &views, &metadata).unwrap();
    assert_eq!(read_all(&path, &none()).unwrap(), sorted);
    assert_eq!(*safetensors::SafetensorsFile::open(&path, &none()).unwrap().metadata(), metadata);
    // The format's own library agrees.
    let bytes = fs::read(&path).unwrap();
    let library = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (key, t) in &tensors {
        let theirs = library.tensor(key).unwrap();
        assert_eq!((theirs.shape(), theirs.data()), (t.shape(), t.bytes()), "{key}");
    }
    safetensors::write(&path, &views, &metadata).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "the same tensors give the same bytes");

    let path = dir.path().join("w.npz");
    let no_bf16: Vec<_> = views.iter().filter(|v| v.1.dtype != DType::BF16).copied().collect();
    npz::write(&path, &no_bf16).unwrap();
    sorted.retain(|t| t.1.dtype() != DType::BF16);
    assert_eq!(read_all(&path, &none()).unwrap(), sorted);
    assert_eq!(npz::write(&path, &views).unwrap_err().code, "E0704");
    assert_eq!(read_all(&path, &none()).unwrap(), sorted, "a failed write changes nothing");
}

#[test]
fn outputs_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let text = HostTensor::from_slice(&[5], b"hello").unwrap();
    let path = dir.path().join("out.txt");
    write_all(&path, &[("out", text.view())]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    let code = |name: &str, n: usize, t: &HostTensor| {
        write_all(&dir.path().join(name), &vec![("out", t.view()); n]).map_err(|d| d.code)
    };
    assert_eq!(code("out.txt", 1, &expected(DType::F32)), Err("E0703"));
    assert_eq!(code("out.npy", 2, &text), Err("E0703"));
    assert_eq!(code("out.idx", 1, &text), Err("E0703"));
    assert_eq!(code("out.bin", 1, &text), Err("E0703"));
    assert_eq!(code("out.npy", 1, &text), Ok(()));
}

/// The folder holds only this file, with this content.
fn alone(dir: &Path, name: &str, content: &[u8]) {
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [name]);
    assert_eq!(fs::read(dir.join(name)).unwrap(), content);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w");
    fs::write(&path, b"old").unwrap();
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let failed = atomic_write(&path, |w| w.write_all(&[1; 1_000_000]).and(Err(full()))).unwrap_err();
    assert!(failed.code == "E0712" && failed.title.contains("disk is full"), "{failed:?}");
    assert!(failed.notes[0].contains("unchanged"));
    alone(dir.path(), "w", b"old");
    atomic_write(&path, |w| w.write_all(b"new")).unwrap();
    alone(dir.path(), "w", b"new");
}

#[test]
fn places_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    for path in [dir.path().join("no/folder/w"), file.join("w"), dir.path().to_path_buf()] {
        let d = atomic_write(&path, |w| w.write_all(b"y")).unwrap_err();
        assert_eq!(d.code, "E0712", "{d:?}");
    }
    let mut mode = fs::metadata(&file).unwrap().permissions();
    mode.set_readonly(true);
    fs::set_permissions(&file, mode).unwrap();
    assert!(atomic_write(&file, |w| w.write_all(b"y")).unwrap_err().title.contains("permission denied"));
    alone(dir.path(), "file", b"x");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device() {
    let path = Path::new("/dev/full");
    let t = HostTensor::zeros(DType::F32, &[100_000]).unwrap();
    let d = atomic_write(path, |w| w.write_all(t.bytes())).unwrap_err();
    assert!(d.code == "E0712" && d.title.contains("disk is full"), "{d:?}");
    // Too little to leave the buffer before the end.
    assert!(atomic_write(path, |w| w.write_all(b"x")).is_err());
    assert!(path.exists());
}

#[cfg(unix)]
#[test]
fn permissions_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, b"old").unwrap();
    fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    atomic_write(&link, |w| w.write_all(b"new")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

/// A compressed file large enough to be cached, and what it unpacks to.
fn large_gz(dir: &Path) -> (PathBuf, Vec<u8>) {
    let mut x = 1u32;
    let mut noise = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    let content: Vec<u8> = (0..200_000).map(|_| noise()).collect();
    let mut gz = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gz.write_all(&content).unwrap();
    let path = dir.join("noise.gz");
    fs::write(&path, gz.finish().unwrap()).unwrap();
    (path, content)
}

#[test]
fn the_cache_is_used_repaired_and_optional() {
    let dir = tempfile::tempdir().unwrap();
    let (path, content) = large_gz(dir.path());
    let folder = dir.path().join("cache");
    let cache = Cache::at(&folder);
    let first = read_bytes(&path, &cache).unwrap();
    assert!(*first == *content && !first.is_mapped());
    let second = read_bytes(&path, &cache).unwrap();
    assert!(*second == *content && second.is_mapped());
    drop(second);
    let entry = fs::read_dir(folder.join("unpacked")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&entry).unwrap();
    for (at, len) in
        [(0, good.len()), (20, good.len()), (50, good.len()), (1000, good.len()), (0, 10), (0, 5000)]
    {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad.truncate(len);
        fs::write(&entry, bad).unwrap();
        assert_eq!(*read_bytes(&path, &cache).unwrap(), *content);
        assert_eq!(fs::read(&entry).unwrap(), good, "repaired");
    }
    let broken = Cache::at(path.join("under/a/file"));
    assert_eq!(*read_bytes(&path, &broken).unwrap(), *content);
    let unused = read_bytes(&path, &none()).unwrap();
    assert!(*unused == *content && !unused.is_mapped());
}

#[test]
fn plain_bytes_may_look_like_gzip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.bin");
    fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
    assert_eq!(*read_bytes(&path, &none()).unwrap(), [0x1f, 0x8b, 8, 0]);
    let named = dir.path().join("weights.gz");
    fs::rename(&path, &named).unwrap();
    assert_eq!(read_bytes(&named, &none()).unwrap_err().code, "E0702");
}

#[test]
fn files_in_memory_are_read_alike() {
    for name in ["f4_big.npy", "f4.npy.gz", "deflated.npz", "torch.safetensors", "i2.idx", "f8.idx.gz"] {
        let bytes = Bytes::from(AlignedBuf::copy_of(&fs::read(fixture(name)).unwrap()).unwrap());
        let there = from_memory(name, bytes).unwrap();
        let expected = read_all(&fixture(name), &none());
        assert_eq!(there, expected.unwrap_or_else(|_| vec![(String::new(), load(name).unwrap())]), "{name}");
    }
}

#[test]
fn misaligned_elements_of_a_file_are_copied() {
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}"#;
    let bytes =
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[7], &1.5f32.to_le_bytes()].concat();
    let bytes = Bytes::from(AlignedBuf::copy_of(&bytes).unwrap());
    let file = safetensors::SafetensorsFile::parse("x".to_string(), &bytes).unwrap();
    assert_eq!(file.tensor(Some("b")).unwrap(), HostTensor::from_slice(&[1], &[1.5f32]).unwrap());
}
