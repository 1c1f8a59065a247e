//! Items and members: pairs of the grammar to AST.

use mlc_diag::{Diagnostic, Span};
use pest::iterators::Pair;

use super::ast::*;
use super::explain;
use super::grammar::Rule;
use super::parse::{Cx, Parts};

impl<'i> Cx<'i> {
    /// The item in a `lone_item`, with complaints about what follows it on its line.
    pub(super) fn lone_item(&mut self, pair: Pair<'i, Rule>) -> Option<Item> {
        let mut item = None;
        for part in Parts::of(pair) {
            match part.as_rule() {
                Rule::junk => self.junk(&part),
                _ => item = Some(self.item(part)),
            }
        }
        item
    }

    fn junk(&mut self, pair: &Pair<'i, Rule>) {
        let d = explain::after_item(self, pair);
        self.report(d);
    }

    fn item(&mut self, pair: Pair<'i, Rule>) -> Item {
        let span = self.span(&pair);
        let doc = self.doc_before(span);
        let rule = pair.as_rule();
        let parts = &mut Parts::of(pair);
        let kind = match rule {
            Rule::use_item => {
                let path = self.string_part(parts, span);
                ItemKind::Use(Use { path, alias: self.try_name(parts) })
            }
            Rule::model_item => ItemKind::Model(self.model(parts, span)),
            Rule::fn_item => ItemKind::Fn(self.fn_in(parts, span)),
            Rule::dataset_item => ItemKind::Dataset(self.dataset(parts, span)),
            Rule::optimizer_item => ItemKind::Optimizer(self.optimizer(parts, span)),
            Rule::schedule_item => {
                let (name, params) = (self.name_part(parts, span), self.params(parts));
                ItemKind::Schedule(Schedule { name, params, body: self.block_part(parts, span) })
            }
            Rule::train_item => ItemKind::Train(self.train(parts)),
            Rule::test_item => {
                let name = self.test_name(parts, span);
                ItemKind::Test(Test { name, body: self.block_part(parts, span) })
            }
            Rule::device_item => {
                let name = self.name_part(parts, span);
                let (device, device_span) = self.device_part(parts, span);
                ItemKind::Device(DeviceDecl { name, device, device_span })
            }
            Rule::transfers => ItemKind::Transfers(self.transfers(parts, span)),
            Rule::binding => ItemKind::Binding(self.binding(parts, span)),
            _ => ItemKind::Error,
        };
        Documented { doc, span, kind }
    }

    fn model(&mut self, parts: &mut Parts<'i>, span: Span) -> Model {
        let (name, params) = (self.name_part(parts, span), self.params(parts));
        let members = self.members(parts, |cx, parts, rule, span, broken| match rule {
            Rule::transfers => ModelMemberKind::Transfers(cx.transfers(parts, span)),
            Rule::state_decl => ModelMemberKind::State(cx.state_decl(parts, span)),
            Rule::method => ModelMemberKind::Method(cx.method(parts, span)),
            Rule::binding => ModelMemberKind::Binding(cx.binding(parts, span)),
            _ => match broken {
                Some(b) => ModelMemberKind::Binding(b),
                None => ModelMemberKind::Error,
            },
        });
        Model { name, params, members }
    }

    fn dataset(&mut self, parts: &mut Parts<'i>, span: Span) -> Dataset {
        let (name, params) = (self.name_part(parts, span), self.params(parts));
        let fields = self.members(parts, |cx, parts, rule, span, _| match rule {
            Rule::field => DatasetMemberKind::Field(cx.field(parts, span)),
            _ => DatasetMemberKind::Error,
        });
        Dataset { name, params, fields }
    }

    fn optimizer(&mut self, parts: &mut Parts<'i>, span: Span) -> Optimizer {
        let (name, params) = (self.name_part(parts, span), self.params(parts));
        let members = self.members(parts, |cx, parts, rule, span, _| match rule {
            Rule::state_decl => OptimizerMemberKind::State(cx.state_decl(parts, span)),
            Rule::method => OptimizerMemberKind::Method(cx.method(parts, span)),
            _ => OptimizerMemberKind::Error,
        });
        Optimizer { name, params, members }
    }

    fn train(&mut self, parts: &mut Parts<'i>) -> Train {
        let name = self.try_name(parts);
        let members = self.members(parts, |cx, parts, rule, span, broken| match rule {
            Rule::transfers => TrainMemberKind::Transfers(cx.transfers(parts, span)),
            Rule::fn_item => TrainMemberKind::Fn(cx.fn_in(parts, span)),
            Rule::loss => TrainMemberKind::Loss(cx.loss(parts, span)),
            Rule::metric => {
                let (name, params) = (cx.name_part(parts, span), cx.params(parts));
                TrainMemberKind::Metric(Metric { name, params, body: cx.block_part(parts, span) })
            }
            Rule::binding => TrainMemberKind::Binding(cx.binding(parts, span)),
            _ => match broken {
                Some(b) => TrainMemberKind::Binding(b),
                None => TrainMemberKind::Error,
            },
        });
        Train { name, members }
    }

    /// The rest of an item's parts, each a member; broken ones are explained here. Of those, `read` gets
    /// the binding that stands for what could not be read, if it is one.
    fn members<K>(
        &mut self,
        parts: &mut Parts<'i>,
        read: impl Fn(&mut Self, &mut Parts<'i>, Rule, Span, Option<Binding>) -> K,
    ) -> Vec<Documented<K>> {
        let mut members = vec![];
        for pair in parts {
            let (span, rule) = (self.span(&pair), pair.as_rule());
            let doc = self.doc_before(span);
            let mut broken = None;
            if explain::broken(self, &pair) {
                let value = Expr { kind: ExprKind::Error, span };
                let name = explain::bound_names(self, &pair).into_iter().next();
                broken = name.map(|name| Binding { name, ty: None, value });
            }
            let kind = read(self, &mut Parts::of(pair), rule, span, broken);
            members.push(Documented { doc, span, kind });
        }
        members
    }

    fn fn_in(&mut self, parts: &mut Parts<'i>, span: Span) -> Function {
        match parts.take(Rule::method) {
            Some(method) => self.method(&mut Parts::of(method), span),
            None => self.method(parts, span),
        }
    }

    fn method(&mut self, parts: &mut Parts<'i>, span: Span) -> Function {
        let (name, params) = (self.name_part(parts, span), self.params(parts));
        let ret = parts.take(Rule::returns).and_then(|r| Parts::of(r).next()).map(|t| self.ty(t));
        let facts = parts.take(Rule::facts).map(|f| Parts::of(f).map(|e| self.expr(e)).collect());
        Function { name, params, ret, facts: facts.unwrap_or_default(), body: self.block_part(parts, span) }
    }

    fn loss(&mut self, parts: &mut Parts<'i>, span: Span) -> Loss {
        let (name, params) = (self.try_name(parts), self.params(parts));
        let (mut updates, mut options) = (vec![], vec![]);
        for part in parts.take(Rule::updates).into_iter().flat_map(Parts::of) {
            match part.as_rule() {
                Rule::string => updates.push(UpdateTarget::Glob(self.string(&part))),
                Rule::named_arg => options.push(self.arg(part)),
                _ => updates.push(UpdateTarget::Name(self.name(&part))),
            }
        }
        Loss { name, params, updates, options, body: self.block_part(parts, span) }
    }

    fn field(&mut self, parts: &mut Parts<'i>, span: Span) -> Field {
        let shared = parts.take(Rule::kw_shared).is_some();
        let name = self.name_part(parts, span);
        let ty = parts.take(Rule::type_).map(|t| self.ty(t));
        let ty = ty.unwrap_or_else(|| Type { kind: TypeKind::Named(name.clone()), span });
        Field { shared, name, ty, source: self.try_expr(parts) }
    }

    fn state_decl(&mut self, parts: &mut Parts<'i>, span: Span) -> StateDecl {
        let kind = match parts.take(Rule::state_kind).map(|k| k.as_str()) {
            Some("buffer") => StateKind::Buffer,
            Some("state") => StateKind::State,
            _ => StateKind::Param,
        };
        let name = self.name_part(parts, span);
        let ty = parts.take(Rule::type_).map(|t| self.ty(t));
        StateDecl { kind, name, ty, init: self.try_expr(parts) }
    }

    fn binding(&mut self, parts: &mut Parts<'i>, span: Span) -> Binding {
        let name = self.name_part(parts, span);
        let ty = parts.take(Rule::type_).map(|t| self.ty(t));
        let value = self.try_expr(parts).unwrap_or(Expr { kind: ExprKind::Error, span });
        Binding { name, ty, value }
    }

    fn transfers(&mut self, parts: &mut Parts<'i>, span: Span) -> Transfers {
        if let Some(mode) = parts.take(Rule::transfers_mode) {
            return if mode.as_str() == "auto" { Transfers::Auto } else { Transfers::Explicit };
        }
        parts.take(Rule::op_le);
        let count = match parts.take(Rule::number).map(|n| self.number(&n)) {
            Some(ExprKind::Int(n)) => n.unsigned_abs(),
            Some(ExprKind::Float(_)) => {
                self.report(
                    Diagnostic::error("E0105", "the number of transfers must be a whole number")
                        .label(span, ""),
                );
                0
            }
            _ => 0,
        };
        Transfers::AtMost { count, per: self.name_part(parts, span) }
    }

    fn test_name(&mut self, parts: &mut Parts<'i>, span: Span) -> Name {
        let Some(string) = parts.take(Rule::string) else { return self.name_part(parts, span) };
        let string = self.string(&string);
        let text = string.literal().map(str::to_owned).unwrap_or_else(|| {
            self.report(
                Diagnostic::error("E0106", "a test's name interpolates nothing")
                    .label(string.span, "`{` and `}` stand for a value here")
                    .hint("write `\\{` for a brace"),
            );
            String::new()
        });
        Name { text, span: string.span }
    }

    fn params(&mut self, parts: &mut Parts<'i>) -> Vec<Param> {
        let params = parts.take(Rule::params).into_iter().flat_map(Parts::of);
        params.map(|p| self.param(p)).collect()
    }

    fn param(&mut self, pair: Pair<'i, Rule>) -> Param {
        let span = self.span(&pair);
        let parts = &mut Parts::of(pair);
        let name = self.name_part(parts, span);
        if name.text == "self" {
            self.report(
                Diagnostic::error("E0108", "methods have no `self` parameter")
                    .label(name.span, "not needed here")
                    .hint("leave it out; members are in scope by their names: `fc1(x)`"),
            );
        }
        let ty = parts.take(Rule::type_).map(|t| self.ty(t));
        Param { name, ty, default: self.try_expr(parts), span }
    }

    pub(super) fn ty(&mut self, pair: Pair<'i, Rule>) -> Type {
        let span = self.span(&pair);
        let Some(inner) = Parts::of(pair).next() else { return self.unreadable_type(span) };
        let kind = match inner.as_rule() {
            Rule::tensor_type => TypeKind::Tensor(self.tensor_type(inner)),
            Rule::tuple_type => {
                let mut types: Vec<Type> = Parts::of(inner).map(|t| self.ty(t)).collect();
                match (types.pop(), types.is_empty()) {
                    (Some(only), true) => only.kind,
                    (last, _) => TypeKind::Tuple(types.into_iter().chain(last).collect()),
                }
            }
            Rule::list_type => match Parts::of(inner).next() {
                Some(element) => TypeKind::List(Box::new(self.ty(element))),
                None => return self.unreadable_type(span),
            },
            _ => match inner.as_str().trim_end() {
                "int" => TypeKind::Int,
                "str" => TypeKind::Str,
                "fn" => TypeKind::Fn,
                "model" => TypeKind::Model,
                text => TypeKind::Named(Name { text: text.to_owned(), span }),
            },
        };
        Type { kind, span }
    }

    fn unreadable_type(&self, span: Span) -> Type {
        Type { kind: TypeKind::Named(Name { text: String::new(), span }), span }
    }

    pub(super) fn tensor_type(&mut self, pair: Pair<'i, Rule>) -> TensorType {
        let span = self.span(&pair);
        let parts = &mut Parts::of(pair);
        let (dtype, dtype_span) = self.dtype_part(parts, span);
        let dims = parts.take(Rule::dims).into_iter().flat_map(Parts::of);
        let dims = dims.map(|d| match d.as_rule() {
            Rule::rest_dim => {
                let span = self.span(&d);
                Dim::Rest(self.name_part(&mut Parts::of(d), span))
            }
            _ => Dim::Expr(self.expr(d)),
        });
        TensorType { dtype, dtype_span, dims: dims.collect(), span }
    }
}
