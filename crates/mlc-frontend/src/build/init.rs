//! The `init` entry: the first value of every state.
//!
//! In `param weight: T = kaiming_uniform(a: 2)` the name means the fn `init_kaiming_uniform`, whose
//! first argument is the type `T`. Random numbers are keyed by (`init`, the parameter's path) and do
//! not depend on what else there is.

use mlc_ir::program::{Entry, EntryKind};

use super::call::Arg;
use super::env::{Env, Owner};
use super::fail::R;
use super::files::FileId;
use super::interp::{GraphCx, InitOf, Interp};
use super::suggest;
use super::value::{Func, StateId, Value};
use crate::prelude::prelude;
use crate::syntax::ItemWord;
use crate::syntax::ast::{self, ExprKind};

impl<'a> Interp<'a> {
    /// Builds the `init` entry over all states declared so far.
    pub fn init_entry(&mut self) -> Entry {
        let mut g = GraphCx::new("init");
        g.fixed_iteration = true;
        let ((), g) = self.in_graph(g, |cx| {
            for k in 0..cx.states.len() {
                let id = StateId(k);
                let path = cx.state_path(id);
                let result = cx.in_scope(&path, |cx| cx.initial(id));
                if let Err(f) = result {
                    cx.report_fail(f);
                }
            }
            cx.commit_writes();
        });
        let span = mlc_diag::Span::NONE;
        Entry { name: "init".to_owned(), kind: EntryKind::Init, inputs: vec![], graph: g.graph, span }
    }

    fn initial(&mut self, id: StateId) -> R<()> {
        let info = self.states[id.0].clone();
        let what = format!("the initial value of `{}`", self.state_path(id));
        let at = match &info.init {
            InitOf::Expr(e, _) if !crate::prelude::contains(e.span) => e.span,
            _ => info.span,
        };
        self.at(at, |cx| {
            let v = match &info.init {
                InitOf::System => return Ok(()),
                InitOf::Zero => Value::int(0),
                InitOf::Copy(of) => Value::Tensor(cx.read_state(*of)?),
                InitOf::Expr(e, env) => {
                    let mut env = (**env).clone();
                    cx.at(e.span, |cx| cx.init_value(&mut env, e, &info.ty))?
                }
                InitOf::Optimizer(e, h, param) => {
                    let mut env = cx.optimizer_env(h, Some(*param), vec![])?;
                    cx.expr(&mut env, e)?
                }
            };
            let t = match &v {
                // One number fills the whole.
                v if v.is_number() || matches!(v, Value::Bool(_)) => {
                    cx.tensor_of(v, info.ty.dtype, cx.span)?
                }
                v => cx.fit(v, &info.ty, &what, cx.span)?,
            };
            let t = cx.b().broadcast_to(t, &info.ty.shape)?;
            if !cx.roots[info.root].hidden {
                cx.write_state(id, t, info.span);
            }
            Ok(())
        })
    }

    /// The value of an initialiser expression for a type.
    fn init_value(&mut self, env: &mut Env<'a>, e: &'a ast::Expr, ty: &mlc_ir::Type) -> R<Value<'a>> {
        let (name, args): (&'a str, &'a [ast::Arg]) = match &e.kind {
            ExprKind::Name(n) => (n, &[]),
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) => (n, args),
                _ => return self.expr(env, e),
            },
            _ => return self.expr(env, e),
        };
        // `zeros(f32[3])` is the fn: it says its own type.
        let typed = matches!(args.first().map(|a| &a.value.kind), Some(ExprKind::Type(_)));
        let Some(f) = self.find_init(env.file, name).filter(|_| !typed) else {
            if let Err(super::fail::Fail::Error(d)) = self.lookup(env, name, e.span)
                && d.code == "E0301"
            {
                let known: Vec<&str> =
                    prelude().items().iter().filter_map(|i| i.name.strip_prefix("init_")).collect();
                let d = super::fail::error("E0301", e.span, format!("there is no initialiser `{name}`"));
                let all = format!("the library has {}", known.join(", "));
                return Err(suggest::hint(d, name, known, &all).into());
            }
            return self.expr(env, e);
        };
        let plain = mlc_ir::Type::new(ty.dtype, ty.shape.iter().cloned());
        let mut given = vec![Arg::positional(Value::Type(plain), e.span)];
        given.extend(self.arguments(env, None, args)?);
        self.call_fn(&f, given, e.span)
    }

    fn find_init(&self, file: FileId, name: &str) -> Option<Func<'a>> {
        let full = format!("init_{name}");
        if let Some((file, item)) = self.find_item(file, &full)
            && let ast::ItemKind::Fn(decl) = &item.kind
        {
            return Some(Func { decl, file, owner: Owner::File });
        }
        match prelude().find(&full, ItemWord::Fn).map(|i| &i.kind) {
            Some(ast::ItemKind::Fn(decl)) => Some(Func { decl, file: FileId::PRELUDE, owner: Owner::File }),
            _ => None,
        }
    }
}
