//! Plans: state that sessions share, constants, inputs and outputs, faults with their source line.

use std::sync::Arc;

use mlc_diag::{SourceId, SourceMap, Span};
use mlc_ir::loops::{
    Arena, ArenaId, ArenaKind, Arg, Atom, AxisId, BodyBuilder, Bound, Buffer, BufferId, Call, CallId, Const,
    ConstId, Index, Kernel, KernelId, LoopProgram, Mode, Phase, Place, Plan, Prim, Prov, Role, StateId,
};
use mlc_ir::{DType, Device};
use mlc_runtime::exec::{Backend, HostExecutable, HostSession, Session, StateStore};

use super::{A0, A1, A2, kernel, read, write};
use crate::backend::{CpuBackend, CpuOptions};
use crate::features::CpuFeatures;

const N: u64 = 6;
const ROWS: u64 = 4;

fn backend() -> CpuBackend {
    CpuBackend::new(CpuOptions::new(CpuFeatures::detect(), true))
}

/// `t = table[id]`, `out = t * factor`, then `table[i] += 1`.
fn program(span: Span) -> LoopProgram {
    let axis = || Index::axis(AxisId(0));
    let mut b = BodyBuilder::new(&[], &[N]);
    let id = b.load(A0, DType::I32, axis());
    let row = Atom::Data(id, Bound { extent: ROWS, wrap: false });
    let x = b.load(A1, DType::F32, Index::term(1, row));
    b.store(A2, axis(), x);
    let args = vec![read("id", DType::I32, N), read("table", DType::F32, ROWS), write("t", DType::F32, N)];
    let mut gather = kernel(args, b.finish());
    gather.prov = vec![Prov { span, scope: "m".into(), node: 0, phase: Phase::Forward }];
    let mut b = BodyBuilder::new(&[], &[N]);
    let x = b.load(A0, DType::F32, axis());
    let f = b.load(A1, DType::F32, Index::constant(0));
    let y = b.prim(Prim::Mul, &[x, f]);
    b.store(A2, axis(), y);
    let args = vec![read("t", DType::F32, N), read("f", DType::F32, 1), write("out", DType::F32, N)];
    let scale = kernel(args, b.finish());
    let mut b = BodyBuilder::new(&[], &[ROWS]);
    let x = b.load(A0, DType::F32, axis());
    let one = b.float(DType::F32, 1.0);
    let y = b.prim(Prim::Add, &[x, one]);
    b.store(A0, axis(), y);
    let count = kernel(vec![Arg::new("table", DType::F32, ROWS, Mode::ReadWrite)], b.finish());
    let buffer = |name: &str, dtype, len, role| Buffer {
        name: name.into(),
        dtype,
        len,
        device: Device::CPU,
        role,
        prov: Prov::infra(),
    };
    let mut p = LoopProgram {
        name: "step".into(),
        kernels: vec![gather, scale.clone(), count, renamed(scale)],
        buffers: vec![
            buffer("id", DType::I32, N, Role::Input),
            buffer("table", DType::F32, ROWS, Role::State(StateId(0))),
            buffer("t", DType::F32, N, Role::Temp),
            buffer("factor", DType::F32, 1, Role::Const(ConstId(0))),
            buffer("u", DType::F32, N, Role::Temp),
            buffer("out", DType::F32, N, Role::Output),
        ],
        consts: vec![Const { dtype: DType::F32, bytes: Arc::from(2.5f32.to_le_bytes().as_slice()) }],
        calls: vec![],
    };
    for (k, args) in [(0, &[0, 1, 2][..]), (1, &[2, 3, 4]), (3, &[4, 3, 5]), (2, &[1])] {
        let args = args.iter().map(|&b| p.whole(BufferId(b))).collect();
        let call = Call { kernel: KernelId(k), args, donates: vec![], after: vec![], prov: Prov::infra() };
        p.calls.push(call);
    }
    p
}

fn renamed(k: Kernel) -> Kernel {
    Kernel { name: "other".into(), ..k }
}

fn plan(span: Span) -> Plan {
    let arena = |kind| Arena { device: Device::CPU, kind, bytes: 128, align: 64 };
    let place = |arena, offset, bytes, live: Option<(u32, u32)>| Place {
        arena: ArenaId(arena),
        offset,
        bytes,
        live: live.map(|(a, b)| (CallId(a), CallId(b))),
    };
    Plan {
        program: program(span),
        arenas: [ArenaKind::Io, ArenaKind::State, ArenaKind::Temp, ArenaKind::Const].map(arena).to_vec(),
        places: vec![
            place(0, 0, 64, None),
            place(1, 64, 16, None),
            place(2, 0, 64, Some((0, 1))),
            place(3, 0, 4, None),
            place(2, 64, 64, Some((1, 2))),
            place(0, 64, 64, None),
        ],
        scratch: vec![0; 4],
        bodies: Default::default(),
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn ids(ids: [i32; N as usize]) -> Vec<u8> {
    ids.iter().flat_map(|i| i.to_le_bytes()).collect()
}

#[test]
fn sessions_share_code_and_state() {
    let plan = Arc::new(plan(Span::NONE));
    let code = backend().compile(plan.clone()).unwrap();
    assert_eq!((code.stats().functions, code.stats().shared), (3, 1));
    let state = Arc::new(StateStore::new(&plan, &backend()).unwrap());
    let table = plan.places[1];
    state.write(&plan, &table, &bytes(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    let mut sessions = [0, 1].map(|_| code.clone().session(state.clone()).unwrap());
    let mut out = vec![0; 24];
    for (i, session) in sessions.iter_mut().enumerate() {
        session.write(BufferId(0), &ids([3, 2, 1, 0, 0, 3])).unwrap();
        session.run().unwrap();
        assert_eq!(session.fault(), None);
        session.read(BufferId(5), &mut out).unwrap();
        let want = [4.0, 3.0, 2.0, 1.0, 1.0, 4.0].map(|v| (v + i as f32) * 2.5 * 2.5);
        assert_eq!(floats(&out), want);
    }
    let mut now = vec![0; 16];
    state.read(&plan, &table, &mut now).unwrap();
    assert_eq!(floats(&now), [3.0, 4.0, 5.0, 6.0]);
}

/// Inputs are read where they lie, copied if that is not aligned, and forgotten afterwards.
#[test]
fn inputs_may_be_lent() {
    let plan = Arc::new(plan(Span::NONE));
    let code = backend().compile(plan.clone()).unwrap();
    let state = Arc::new(StateStore::new(&plan, &backend()).unwrap());
    state.write(&plan, &plan.places[1], &bytes(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    let mut session = code.session(state).unwrap();
    session.write(BufferId(0), &ids([0; 6])).unwrap();
    let lent = [vec![0; 8], ids([3, 2, 1, 0, 0, 3])].concat();
    let mut shifted = vec![0u8; lent.len() + 1];
    let odd = usize::from(shifted.as_ptr().addr().is_multiple_of(2));
    shifted[odd..odd + 24].copy_from_slice(&lent[8..]);
    let (mut out, mut written) = (vec![0; 24], vec![0; 24]);
    for (i, input) in [&lent[8..], &shifted[odd..odd + 24]].into_iter().enumerate() {
        session.run_on(&mut [(BufferId(0), input)].into_iter()).unwrap();
        session.read(BufferId(5), &mut out).unwrap();
        let want = [4.0, 3.0, 2.0, 1.0, 1.0, 4.0].map(|v| (v + i as f32) * 2.5 * 2.5);
        assert_eq!(floats(&out), want);
        session.read(BufferId(0), &mut written).unwrap();
        assert_eq!(written, if i == 0 { vec![0; 24] } else { lent[8..].to_vec() });
    }
    assert!(session.run_on(&mut [(BufferId(0), &lent[..3])].into_iter()).is_err());
    assert!(session.run_on(&mut [(BufferId(5), &lent[8..])].into_iter()).is_err());
}

#[test]
fn sessions_run_on_threads_of_their_own() {
    let plan = Arc::new(plan(Span::NONE));
    let code = backend().compile(plan.clone()).unwrap();
    let state = Arc::new(StateStore::new(&plan, &backend()).unwrap());
    std::thread::scope(|s| {
        for _ in 0..3 {
            let mut session = code.clone().session(state.clone()).unwrap();
            s.spawn(move || {
                for _ in 0..100 {
                    session.run().unwrap();
                }
            });
        }
    });
    let mut now = vec![0; 16];
    state.read(&plan, &plan.places[1], &mut now).unwrap();
    assert_eq!(floats(&now), [300.0; 4]);
}

#[test]
fn a_bad_index_names_its_line() {
    let mut sources = SourceMap::new();
    let text = "a line\nx = table[id]\n";
    let source: SourceId = sources.add("m.mlg", None, text);
    let span = Span::new(source, 11, 20);
    let plan = Arc::new(plan(span));
    let code = backend().compile(plan.clone()).unwrap();
    let state = Arc::new(StateStore::new(&plan, &backend()).unwrap());
    let mut session = code.session(state).unwrap();
    session.write(BufferId(0), &ids([0, 1, 2, 7, -1, 0])).unwrap();
    session.run().unwrap();
    let fault = session.fault().unwrap();
    assert_eq!((fault.value, fault.extent, &*fault.arg), (7, ROWS, "table"));
    let d = fault.diagnostic();
    assert_eq!((d.code, sources.snippet(d.span())), ("E0801", "table[id]"));
    // The next run is clean again.
    session.write(BufferId(0), &ids([0; 6])).unwrap();
    session.run().unwrap();
    assert_eq!(session.fault(), None);
}

#[test]
fn poison_does_not_show() {
    let plan = Arc::new(plan(Span::NONE));
    let backend = backend();
    let (kernels, stats) = backend.kernels(plan.program.leaf_kernels()).unwrap();
    let pool = backend.pool().clone();
    let code = Arc::new(HostExecutable::new(plan.clone(), kernels, stats, pool).unwrap());
    let state = Arc::new(StateStore::new(&plan, &backend).unwrap());
    state.write(&plan, &plan.places[1], &bytes(&[1.0, 2.0, 3.0, 4.0])).unwrap();
    let mut session = HostSession::new(code, state).unwrap();
    session.write(BufferId(0), &ids([1; 6])).unwrap();
    session.run_poisoned().unwrap();
    let mut out = vec![0; 24];
    session.read(BufferId(5), &mut out).unwrap();
    assert_eq!(floats(&out), [12.5; 6]);
}

#[test]
fn wrong_plans_are_refused() {
    let ok = plan(Span::NONE);
    let mut short = ok.clone();
    short.places[1].offset = 120;
    let mut missing = ok.clone();
    missing.program.calls[0].args.pop();
    let mut crooked = ok.clone();
    crooked.places[5].offset = 65;
    for p in [short, missing, crooked] {
        assert!(backend().compile(Arc::new(p)).is_err());
    }
    let plan = Arc::new(ok);
    let code = backend().compile(plan.clone()).unwrap();
    let state = Arc::new(StateStore::new(&plan, &backend()).unwrap());
    let mut session = code.session(state).unwrap();
    assert!(session.write(BufferId(0), &[0; 3]).is_err());
    assert!(session.write(BufferId(2), &[0; 24]).is_err());
    assert!(session.read(BufferId(99), &mut []).is_err());
}
