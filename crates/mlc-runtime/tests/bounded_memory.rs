//! No file makes a reader reserve more memory than its bytes can stand for. A binary of its own, because
//! it counts allocations with an allocator of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use mlc_diag::Span;
use mlc_ir::DType;
use mlc_ir::program::{
    DatasetSpec, FieldDim, FieldSpec, PipelineSpec, RandomSpec, ShuffleSpec, SourceKind, SourceSpec,
};
use mlc_runtime::data::{Dataset, LoadOptions, Loader, LoaderOptions, Stream, StreamOptions};
use mlc_runtime::files::{self, Cache, FileRef};

/// The system's allocator, which also notes each thread's largest request and how many there were.
struct Largest;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    // Where the thread is going away nobody asks any more.
    let _ = LARGEST.try_with(|l| l.set(l.get().max(size)));
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// Deflate's greatest ratio, on top of fixed buffers.
fn bound(len: usize) -> usize {
    (1 << 18) + 2 * 1032 * len
}

fn read(path: &Path) -> usize {
    LARGEST.set(0);
    let cache = Cache::disabled();
    let _ = files::read_one(&FileRef { path: path.to_path_buf(), key: None }, &cache);
    let _ = files::read_all(path, &cache);
    LARGEST.get()
}

#[test]
fn damaged_files_reserve_little() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/files");
    let dir = tempfile::tempdir().unwrap();
    let names =
        ["f4.npy", "f4.npy.gz", "f8.idx", "f8.idx.gz", "stored.npz", "single.npz", "torch.safetensors"];
    for name in names {
        let bytes = std::fs::read(fixtures.join(name)).unwrap();
        let path: PathBuf = dir.path().join(name);
        for i in 0..bytes.len() {
            for value in [0x00, 0x7f, 0xff, bytes[i] ^ 0x40, b'9'] {
                let mut changed = bytes.clone();
                changed[i] = value;
                std::fs::write(&path, &changed).unwrap();
                let largest = read(&path);
                assert!(
                    largest <= bound(changed.len()),
                    "{name}, byte {i} = {value}: {largest} bytes at once"
                );
            }
            // Four bytes together make the sizes of idx, npy and zip as large as they get.
            let mut changed = bytes.clone();
            changed.iter_mut().skip(i).take(4).for_each(|b| *b = 0xfe);
            std::fs::write(&path, &changed).unwrap();
            let largest = read(&path);
            assert!(largest <= bound(changed.len()), "{name}, bytes {i}.. = fe: {largest} bytes at once");
        }
    }
}

/// The bound itself is not vacuous: reading what is really there goes beyond the fixed part.
#[test]
fn real_data_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let t = mlc_runtime::HostTensor::zeros(DType::U8, &[900_000]).unwrap();
    files::npy::write(&path, t.view()).unwrap();
    assert!(read(&path) >= 900_000);
}

#[test]
fn batches_reserve_nothing_once_warm() {
    let random = SourceKind::Random(RandomSpec { rows: 1000, low: None, high: None, seed: None });
    let field = FieldSpec {
        name: "x".to_string(),
        dtype: DType::F32,
        dims: vec![FieldDim::Known(10)],
        shared: false,
        source: Some(SourceSpec::new(random)),
        span: Span::NONE,
    };
    let spec = DatasetSpec {
        name: "D".to_string(),
        fields: vec![field],
        base_dir: PathBuf::new(),
        span: Span::NONE,
    };
    let dataset =
        Dataset::load(&spec, &LoadOptions { cache: Cache::disabled(), ..LoadOptions::default() }).unwrap();
    let pipeline =
        PipelineSpec { shuffle: Some(ShuffleSpec::default()), batch: Some(64), ..Default::default() };
    let stream = Stream::new(vec![(dataset.into(), pipeline)], StreamOptions::default()).unwrap();
    let mut loader = Loader::new(stream, LoaderOptions { prefetch: 0, ..Default::default() }).unwrap();
    drop(loader.next_batch().unwrap());
    COUNT.set(0);
    let rows: usize = (0..40).filter_map(|_| loader.next_batch().unwrap()).map(|b| b.rows()).sum();
    assert_eq!((COUNT.get(), rows > 2000), (0, true));
}
