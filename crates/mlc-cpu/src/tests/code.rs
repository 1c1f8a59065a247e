//! Compiled functions: shared where they are equal and only there, freed, written to objects and read back.

use std::sync::Arc;

use mlc_ir::DType;
use mlc_ir::loops::{ArgId, Atom, AxisId, BodyBuilder, Bound, Func, Index, Kernel, Prim, Prov, kernel_key};
use mlc_runtime::exec::HostKernel;

use super::{A0, A1, A2, Order, Rng, check, fill, kernel, read, run, write};
use crate::backend::{CpuBackend, CpuOptions};
use crate::features::CpuFeatures;

const A3: ArgId = ArgId(3);

fn options() -> CpuOptions {
    CpuOptions::new(CpuFeatures::detect(), false)
}

/// `y = f(x) * x`, from elsewhere in the source each time.
fn map(f: Func, n: u64, name: &str) -> Kernel {
    let mut b = BodyBuilder::new(&[], &[n]);
    let x = b.load(A0, DType::F32, Index::axis(AxisId(0)));
    let y = b.call(f, &[x]);
    let y = b.prim(Prim::Mul, &[y, x]);
    b.store(A1, Index::axis(AxisId(0)), y);
    let mut k = kernel(vec![read(name, DType::F32, n), write("y", DType::F32, n)], b.finish());
    k.name = name.into();
    k.prov = vec![Prov { scope: name.into(), ..Prov::infra() }];
    k
}

/// `y[i] = t[a[i]] - t[b[i]]`, with the loads in one order or the other. The order is no meaning and not hashed, but
/// fault sites count by it.
fn two_sites(a_first: bool) -> Kernel {
    let mut b = BodyBuilder::new(&[], &[8]);
    let at = || Index::axis(AxisId(0));
    let bound = Bound { extent: 5, wrap: false };
    let mut pick = |arg| {
        let i = b.load(arg, DType::I64, at());
        let mut index = Index::default();
        index.add_term(1, Atom::Data(i, bound));
        b.load(A2, DType::F32, index)
    };
    let (x, y) = if a_first {
        let x = pick(A0);
        (x, pick(A1))
    } else {
        let y = pick(A1);
        (pick(A0), y)
    };
    let d = b.prim(Prim::Sub, &[x, y]);
    b.store(A3, at(), d);
    let args = vec![
        read("a", DType::I64, 8),
        read("b", DType::I64, 8),
        read("t", DType::F32, 5),
        write("y", DType::F32, 8),
    ];
    kernel(args, b.finish())
}

#[test]
fn equal_functions_are_compiled_once_across_calls() {
    let backend = CpuBackend::new(options());
    let kernels = |names: [&str; 2]| names.map(|n| map(Func::Exp, 300, n)).to_vec();
    let (_, first) = backend.kernels(&kernels(["a", "b"])).unwrap();
    assert_eq!((first.functions, first.shared), (1, 1));
    let (_, second) = backend.clone().kernels(&kernels(["c", "d"])).unwrap();
    assert_eq!((second.functions, second.shared, second.code_bytes), (0, 2, 0));
    let (_, other) = backend.kernels(&[map(Func::Exp, 301, "a"), map(Func::Log, 300, "a")]).unwrap();
    assert_eq!((other.functions, other.shared), (2, 0));
}

#[test]
fn fault_sites_are_not_mixed_up_by_sharing() {
    let kernels = [two_sites(true), two_sites(false), two_sites(true)];
    assert_eq!(kernel_key(&kernels[0]), kernel_key(&kernels[1]), "the order is not in the key of a kernel");
    let backend = CpuBackend::new(options());
    let (made, stats) = backend.kernels(&kernels).unwrap();
    assert_eq!((stats.functions, stats.shared), (2, 1));
    let ids =
        |bad: i64| [0, 1, 2, bad, 4, 0, 1, 2].iter().flat_map(|i: &i64| i.to_le_bytes()).collect::<Vec<u8>>();
    let args = vec![ids(3), ids(9), fill(&mut Rng::new(3), DType::F32, 5), vec![0; 32]];
    for (k, code) in kernels.iter().zip(&made) {
        let site = run(k, &**code, &args, Order::Forward).1.site as usize - 1;
        let load = k.fault_sites()[site];
        let mlc_ir::loops::Kind::Loop(body) = &k.kind else { panic!() };
        let mlc_ir::loops::ExprOp::Load(index) = &body.expr(load.index).op else { panic!() };
        assert_eq!(index.arg, A1, "`b` holds the 9");
        check("two sites", k, &args);
    }
}

#[test]
fn memory_goes_with_the_last_user() {
    let backend = CpuBackend::new(options());
    let (made, _) = backend.kernels(&[map(Func::Exp, 64, "a")]).unwrap();
    let weak = backend.code_memory();
    assert!(!weak.is_empty() && weak.iter().all(|m| m.upgrade().is_some()));
    drop(backend);
    assert!(weak.iter().all(|m| m.upgrade().is_some()), "the kernel still holds its code");
    drop(made);
    assert!(weak.iter().all(|m| m.upgrade().is_none()));
}

fn exported() -> (Vec<Kernel>, crate::Exported) {
    let kernels = vec![map(Func::Exp, 300, "a"), map(Func::Tanh, 1000, "b"), two_sites(true)];
    let exported = CpuBackend::new(options()).export(&kernels).unwrap();
    (kernels, exported)
}

#[test]
fn objects_run_as_what_was_compiled() {
    let (kernels, code) = exported();
    let there = CpuBackend::with_code(options(), &code.object, &code.functions).unwrap();
    let (loaded, stats) = there.kernels(&kernels).unwrap();
    assert_eq!((stats.functions, stats.shared), (0, code.functions.len()));
    let (made, _) = CpuBackend::new(options()).kernels(&kernels).unwrap();
    let results = |list: &[Arc<dyn HostKernel>]| -> Vec<_> {
        let one = |(k, code): (&Kernel, &Arc<dyn HostKernel>)| {
            let mut rng = Rng::new(5);
            let args: Vec<Vec<u8>> = k.args.iter().map(|a| fill(&mut rng, a.dtype, a.len)).collect();
            run(k, &**code, &args, Order::Forward).0
        };
        kernels.iter().zip(list).map(one).collect()
    };
    assert!(results(&loaded) == results(&made));
    // What was read can be written again, and what it does not have is not compiled.
    let again = there.export(&kernels).unwrap();
    assert_eq!(again.functions, code.functions);
    assert!(CpuBackend::with_code(options(), &again.object, &again.functions).is_ok());
    let e = there.kernels(&[map(Func::Log, 300, "other")]).err().unwrap();
    assert!(e.code == "E0741" && e.title.contains("@other"), "{e:?}");
}

/// Whatever an object's bytes, reading it ends with code that stays inside of its memory, or with an error.
#[test]
fn changed_objects_do_no_harm_before_they_run() {
    let (_, code) = exported();
    let read = |object: &[u8]| CpuBackend::with_code(options(), object, &code.functions).map(|_| ());
    assert_eq!(read(&code.object), Ok(()));
    let mut refused = 0;
    for at in 0..code.object.len() {
        let mut bad = code.object.clone();
        for bits in [0xff, 0x01, 0x80] {
            bad[at] = code.object[at] ^ bits;
            refused += usize::from(read(&bad).is_err());
        }
        refused += usize::from(read(&code.object[..at]).is_err());
    }
    assert!(refused > code.object.len(), "{refused}");
    let mut longer = code.functions.clone();
    longer[0].size = u32::MAX;
    assert!(CpuBackend::with_code(options(), &code.object, &longer).is_err());
}
