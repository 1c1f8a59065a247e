//! Datasets and their pipelines.

use std::rc::Rc;

use mlc_diag::Span;
use mlc_ir::graph::ValueId;
use mlc_ir::program::{DataPart, DataSpec, DatasetSpec, FieldDim, FieldSpec, PipelineSpec, ShuffleSpec};
use mlc_ir::{Dim, Symbol, Type};

use super::call::Arg;
use super::env::{Env, Owner};
use super::fail::{Fail, R, error, fail};
use super::files::FileId;
use super::interp::Interp;
use super::suggest;
use super::types::Matching;
use super::value::Value;
use crate::syntax::ast::{self, DatasetMemberKind, ExprKind, TypeKind};

/// An input that a field of a dataset is in the graph.
#[derive(Debug, Clone)]
pub struct FieldInput {
    pub name: String,
    pub ty: Type,
    pub span: Span,
}

impl<'a> Interp<'a> {
    /// `Digits("train")`: a dataset without a pipeline yet.
    pub fn dataset(
        &mut self,
        d: &'a ast::Dataset,
        file: FileId,
        args: Vec<Arg<'a>>,
        span: Span,
    ) -> R<Value<'a>> {
        let name = &d.name.text;
        let matched = self.match_args(name, &d.params, args, span)?;
        let mut env = Env::new(file, Owner::File);
        for (p, arg) in d.params.iter().zip(matched) {
            let (v, at) = match (arg, &p.default) {
                (Some(a), _) => (a.value, a.span),
                (None, Some(e)) => (self.expr(&mut env, e)?, e.span),
                (None, None) => continue,
            };
            let what = format!("`{}` of `{name}`", p.name.text);
            let v = match &p.ty {
                Some(ty) => {
                    self.match_type(&mut env, ty, v, &Matching { what: &what, span: at, introduce: false })?
                }
                None => v,
            };
            env.declare(&p.name.text, v, p.name.span);
        }
        let config = env.vars.into_iter().map(|v| (v.name, v.value)).collect();
        let mut env = Env::new(file, Owner::Config(Rc::new(config)));
        let mut fields: Vec<FieldSpec> = vec![];
        let mut failed = false;
        for m in &d.fields {
            let DatasetMemberKind::Field(f) = &m.kind else { continue };
            if let Some(before) = fields.iter().find(|b| b.name == f.name.text) {
                return Err(error("E0302", f.name.span, format!("`{}` is declared twice", f.name.text))
                    .label(before.span, "first here")
                    .into());
            }
            match self.field_spec(&mut env, f) {
                Ok(field) => fields.push(field),
                Err(e) => {
                    failed = true;
                    self.report_fail(e);
                }
            }
        }
        if failed {
            return Err(Fail::Silent);
        }
        let base_dir = self.files.get(file).map(|u| u.dir.clone()).unwrap_or_default();
        let dataset = DatasetSpec { name: name.clone(), fields, base_dir, span };
        let pipeline = PipelineSpec { span, ..PipelineSpec::default() };
        Ok(Value::Data(Rc::new(DataSpec::single(dataset, pipeline))))
    }

    fn field_spec(&mut self, env: &mut Env<'a>, f: &'a ast::Field) -> R<FieldSpec> {
        let TypeKind::Tensor(t) = &f.ty.kind else {
            return Err(error(
                "E0730",
                f.ty.span,
                format!("the field `{}` needs a tensor type", f.name.text),
            )
            .hint("for example `image: u8[28, 28] = ..`")
            .into());
        };
        let mut dims = vec![];
        for d in &t.dims {
            let e = match d {
                ast::Dim::Rest(n) => return fail("E0730", n.span, "a field's dims are all written out"),
                ast::Dim::Expr(e) => e,
            };
            if let ExprKind::Name(n) = &e.kind
                && self.signature_dim(env, n).is_none()
            {
                dims.push(FieldDim::Named(n.clone()));
                continue;
            }
            let v = self.int_expr(env, e)?;
            match v.as_const().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => dims.push(FieldDim::Known(n)),
                None => return fail("E0730", e.span, format!("a field's dim cannot be {v}")),
            }
        }
        let source = match &f.source {
            None => None,
            Some(e) => match self.expr(env, e)? {
                Value::Source(s) => Some((*s).clone()),
                v => {
                    return Err(error("E0730", e.span, format!("a field's source cannot be {}", v.kind()))
                        .hint("sources are idx, npy, npz, safetensors, csv, bytes, images, folder_labels and random")
                        .into());
                }
            },
        };
        Ok(FieldSpec {
            name: f.name.text.clone(),
            dtype: t.dtype,
            dims,
            shared: f.shared,
            source,
            span: f.name.span,
        })
    }

    /// `.skip(n)`, `.take(n)`, `.shuffle(seed:)`, `.batch(n, drop_last:, dim:)`.
    pub fn pipeline_call(
        &mut self,
        env: &mut Env<'a>,
        data: &Rc<DataSpec>,
        name: &'a ast::Name,
        args: &'a [ast::Arg],
        span: Span,
    ) -> R<Value<'a>> {
        let mut given = vec![];
        for a in args {
            // `dim: other` introduces a name.
            let value = match (&a.name, &a.value.kind) {
                (Some(n), ExprKind::Name(dim)) if n.text == "dim" => Value::str(dim.as_str()),
                _ => self.unplaced(env, &a.value)?,
            };
            given.push(Arg { name: a.name.as_ref(), value, span: a.value.span });
        }
        let [DataPart { dataset, pipeline }] = data.parts.as_slice() else {
            return Err(error("E0731", name.span, "the parts of a `zip` have their own pipelines")
                .hint("write `zip(A().batch(32), B().batch(64, dim: other))`")
                .into());
        };
        let mut p = pipeline.clone();
        p.span = span;
        let stage = name.text.as_str();
        let order = |later: &str| {
            error("E0731", name.span, format!("`.{stage}` cannot come after `.{later}`"))
                .hint("the order is .skip .take .shuffle .batch")
        };
        if matches!(stage, "skip" | "take") && p.shuffle.is_some() {
            let d = order("shuffle")
                .note(format!("`.{stage}` of shuffled samples would mix what it separates, anew each epoch"));
            return Err(d.into());
        }
        if stage != "batch" && p.batch.is_some() {
            return Err(order("batch").into());
        }
        let names: &[&str] = match stage {
            "skip" | "take" => &["n"],
            "shuffle" => &["seed"],
            "batch" => &["n", "drop_last", "dim"],
            other => {
                let d = error("E0303", name.span, format!("data has no `{other}`"));
                return Err(suggest::unknown(d, other, ["skip", "take", "shuffle", "batch"]).into());
            }
        };
        let required: Vec<bool> = names.iter().map(|n| *n == "n").collect();
        let args = super::call::match_args(stage, names, &required, given, span)?;
        let count = |cx: &Self, a: &Option<Arg<'a>>, least: i64| -> R<Option<u64>> {
            let Some(a) = a else { return Ok(None) };
            let n = cx.to_int(&a.value, a.span)?;
            if n < least {
                return fail("E0731", a.span, format!("`.{stage}` of {n}: it must be at least {least}"));
            }
            Ok(Some(n as u64))
        };
        match stage {
            "skip" if p.skip > 0 || p.take.is_some() => {
                return Err(order(if p.take.is_some() { "take" } else { "skip" }).into());
            }
            "skip" => p.skip = count(self, &args[0], 0)?.unwrap_or(0),
            "take" if p.take.is_some() => return Err(order("take").into()),
            "take" => p.take = count(self, &args[0], 0)?,
            "shuffle" if p.shuffle.is_some() => return Err(order("shuffle").into()),
            "shuffle" => p.shuffle = Some(ShuffleSpec { seed: count(self, &args[0], 0)? }),
            _ => {
                p.batch = count(self, &args[0], 1)?;
                match args[1].as_ref().map(|a| (&a.value, a.span)) {
                    None => {}
                    Some((Value::Bool(b), _)) => p.drop_last = *b,
                    Some((v, at)) => return fail("E0305", at, format!("`drop_last` is {}", v.kind())),
                }
            }
        }
        if let ("batch", Some(Some(a))) = (stage, args.get(2)) {
            match &a.value {
                Value::Str(s) => p.batch_dim = s.to_string(),
                v => return fail("E0305", a.span, format!("`dim` is {}, it must be a name", v.kind())),
            }
        }
        Ok(Value::Data(Rc::new(DataSpec::single(dataset.clone(), p))))
    }

    /// The fields of data as inputs, and the name of its batch dim.
    pub fn field_inputs(&mut self, data: &DataSpec) -> (Vec<FieldInput>, Option<Symbol>) {
        let mut out: Vec<FieldInput> = vec![];
        let mut batch: Option<Symbol> = None;
        for part in &data.parts {
            let dim: Symbol = part.pipeline.batch_dim.as_str().into();
            let mut rows = false;
            for f in &part.dataset.fields {
                let dims = f.dims.iter().map(|d| match d {
                    FieldDim::Known(n) => Dim::from(*n as usize),
                    FieldDim::Named(n) => Dim::sym(n.as_str()),
                });
                let lead = (!f.shared).then(|| Dim::sym(dim.clone()));
                rows |= !f.shared;
                if out.iter().any(|o| o.name == f.name) {
                    self.report(
                        error(
                            "E0730",
                            f.span,
                            format!("two datasets of this `zip` have a field `{}`", f.name),
                        )
                        .hint("rename one of them: losses bind fields by name"),
                    );
                    continue;
                }
                let ty = Type::new(f.dtype, lead.into_iter().chain(dims));
                out.push(FieldInput { name: f.name.clone(), ty, span: f.span });
            }
            if rows && batch.is_none() {
                batch = Some(dim);
            }
        }
        (out, batch)
    }

    /// Adds an input of the entry under construction, with the dims that it introduces.
    pub fn add_input(&mut self, name: &str, ty: Type, span: Span, least: i64) -> R<ValueId> {
        for d in &ty.shape {
            for s in d.symbols() {
                self.g.graph.dims.declare(s, span, least);
            }
        }
        let prov = mlc_ir::graph::Prov::at(span);
        Ok(self.g.graph.add(mlc_ir::op::Input { name: name.into(), ty }.into(), &[], prov)?.value())
    }
}
