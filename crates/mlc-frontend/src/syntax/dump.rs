//! The AST as text: what `--emit ast` prints and snapshots hold.
//!
//! ```text
//! fc2(relu(x)) + b[.., 0]      (+ (call fc2 (call relu x)) (index b .. 0))
//! ```
//! One S-expression an item, broken over lines where it is wider than [`WIDTH`]. Spans are left out, so
//! that two texts of one program dump the same.

use super::ast::*;

const WIDTH: usize = 100;

/// All items, one after the other.
pub fn dump(file: &File) -> String {
    let mut out = String::new();
    for item in &file.items {
        out.push_str(&dump_item(item));
        out.push('\n');
    }
    out
}

/// One item, without a newline at its end.
pub fn dump_item(item: &Item) -> String {
    let mut node = item_node(&item.kind);
    add_doc(&mut node, &item.doc);
    render(node)
}

/// One expression.
pub fn dump_expr(expr: &Expr) -> String {
    render(expr_node(expr))
}

fn render(node: Node) -> String {
    let mut out = String::new();
    node.write(0, &mut out);
    out
}

/// A text with its width on one line, or a list of such.
enum Node {
    Atom(String),
    List(Vec<Node>, usize),
}

impl Node {
    fn atom(text: impl Into<String>) -> Node {
        Node::Atom(text.into())
    }

    fn list(parts: Vec<Node>) -> Node {
        let width = 2 + parts.iter().map(|p| p.width() + 1).sum::<usize>().saturating_sub(1);
        Node::List(parts, width)
    }

    /// `(head rest...)`
    fn form(head: impl Into<String>, rest: impl IntoIterator<Item = Node>) -> Node {
        Node::list(std::iter::once(Node::atom(head)).chain(rest).collect())
    }

    fn width(&self) -> usize {
        match self {
            Node::Atom(text) => text.len(),
            Node::List(_, width) => *width,
        }
    }

    /// A list too wide for its line keeps its leading atoms on it, and each part after them gets its own.
    fn write(&self, indent: usize, out: &mut String) {
        let Node::List(parts, width) = self else {
            if let Node::Atom(text) = self {
                out.push_str(text);
            }
            return;
        };
        let wide = indent + width > WIDTH;
        let mut leading = true;
        out.push('(');
        for (i, part) in parts.iter().enumerate() {
            leading = leading && (i == 0 || matches!(part, Node::Atom(_)));
            if i > 0 && wide && !leading {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent + 2));
            } else if i > 0 {
                out.push(' ');
            }
            part.write(indent + 2, out);
        }
        out.push(')');
    }
}

fn add_doc(node: &mut Node, doc: &Option<String>) {
    if let (Some(doc), Node::List(parts, width)) = (doc, node) {
        let doc = Node::form("doc", [Node::atom(format!("{doc:?}"))]);
        *width += 1 + doc.width();
        parts.insert(parts.len().min(2), doc);
    }
}

fn name(name: &Name) -> Node {
    Node::atom(&*name.text)
}

fn names(all: &[Name]) -> Node {
    Node::list(all.iter().map(name).collect())
}

fn quoted(name: &Name) -> Node {
    Node::atom(format!("{:?}", name.text))
}

fn item_node(kind: &ItemKind) -> Node {
    match kind {
        ItemKind::Use(u) => {
            Node::form("use", [str_node(&u.path)].into_iter().chain(u.alias.as_ref().map(name)))
        }
        ItemKind::Model(m) => declared("model", Some(&m.name), &m.params, members(&m.members, model_member)),
        ItemKind::Fn(f) => function("fn", f),
        ItemKind::Dataset(d) => declared("dataset", Some(&d.name), &d.params, members(&d.fields, field)),
        ItemKind::Optimizer(o) => {
            declared("optimizer", Some(&o.name), &o.params, members(&o.members, optimizer_member))
        }
        ItemKind::Schedule(s) => declared("schedule", Some(&s.name), &s.params, vec![block(&s.body)]),
        ItemKind::Train(t) => declared("train", t.name.as_ref(), &[], members(&t.members, train_member)),
        ItemKind::Test(t) => Node::form("test", [quoted(&t.name), block(&t.body)]),
        ItemKind::Device(d) => Node::form("device", [name(&d.name), Node::atom(d.device.to_string())]),
        ItemKind::Transfers(t) => transfers(t),
        ItemKind::Binding(b) => binding(b),
        ItemKind::Error => Node::form("error", []),
    }
}

fn declared(word: &str, of: Option<&Name>, params: &[Param], rest: Vec<Node>) -> Node {
    Node::form(word, of.map(name).into_iter().chain(params.iter().map(param)).chain(rest))
}

fn members<K>(all: &[Documented<K>], node: impl std::ops::Fn(&K) -> Node) -> Vec<Node> {
    all.iter()
        .map(|m| {
            let mut n = node(&m.kind);
            add_doc(&mut n, &m.doc);
            n
        })
        .collect()
}

fn model_member(kind: &ModelMemberKind) -> Node {
    match kind {
        ModelMemberKind::Binding(b) => binding(b),
        ModelMemberKind::State(s) => state(s),
        ModelMemberKind::Method(f) => function("method", f),
        ModelMemberKind::Transfers(t) => transfers(t),
        ModelMemberKind::Error => Node::form("error", []),
    }
}

fn field(kind: &DatasetMemberKind) -> Node {
    match kind {
        DatasetMemberKind::Field(f) => {
            let word = if f.shared { "shared-field" } else { "field" };
            Node::form(word, [name(&f.name), ty(&f.ty)].into_iter().chain(f.source.as_ref().map(expr_node)))
        }
        DatasetMemberKind::Error => Node::form("error", []),
    }
}

fn optimizer_member(kind: &OptimizerMemberKind) -> Node {
    match kind {
        OptimizerMemberKind::State(s) => state(s),
        OptimizerMemberKind::Method(f) => function("method", f),
        OptimizerMemberKind::Error => Node::form("error", []),
    }
}

fn train_member(kind: &TrainMemberKind) -> Node {
    match kind {
        TrainMemberKind::Binding(b) => binding(b),
        TrainMemberKind::Fn(f) => function("fn", f),
        TrainMemberKind::Loss(l) => {
            let updates = l.updates.iter().map(|u| match u {
                UpdateTarget::Name(n) => name(n),
                UpdateTarget::Glob(s) => str_node(s),
            });
            let updates: Vec<Node> = updates.chain(args(&l.options)).collect();
            let updates = (!updates.is_empty()).then(|| Node::form("updates", updates));
            declared(
                "loss",
                l.name.as_ref(),
                &l.params,
                updates.into_iter().chain([block(&l.body)]).collect(),
            )
        }
        TrainMemberKind::Metric(m) => declared("metric", Some(&m.name), &m.params, vec![block(&m.body)]),
        TrainMemberKind::Transfers(t) => transfers(t),
        TrainMemberKind::Error => Node::form("error", []),
    }
}

fn transfers(t: &Transfers) -> Node {
    match t {
        Transfers::Explicit => Node::form("transfers", [Node::atom("explicit")]),
        Transfers::Auto => Node::form("transfers", [Node::atom("auto")]),
        Transfers::AtMost { count, per } => {
            Node::form("transfers", [Node::atom("<="), Node::atom(count.to_string()), name(per)])
        }
    }
}

fn binding(b: &Binding) -> Node {
    Node::form("=", [name(&b.name)].into_iter().chain(b.ty.as_ref().map(typed)).chain([expr_node(&b.value)]))
}

fn state(s: &StateDecl) -> Node {
    let parts = [name(&s.name)].into_iter().chain(s.ty.as_ref().map(typed));
    Node::form(s.kind.word(), parts.chain(s.init.as_ref().map(expr_node)))
}

fn function(word: &str, f: &Function) -> Node {
    let mut rest = vec![];
    rest.extend(f.ret.as_ref().map(|t| Node::form("->", [ty(t)])));
    if !f.facts.is_empty() {
        rest.push(Node::form("where", f.facts.iter().map(expr_node)));
    }
    rest.push(block(&f.body));
    declared(word, Some(&f.name), &f.params, rest)
}

fn param(p: &Param) -> Node {
    Node::form(
        "arg",
        [name(&p.name)].into_iter().chain(p.ty.as_ref().map(typed)).chain(p.default.as_ref().map(expr_node)),
    )
}

fn typed(t: &Type) -> Node {
    Node::form(":", [ty(t)])
}

fn ty(t: &Type) -> Node {
    match &t.kind {
        TypeKind::Tensor(t) => tensor(t),
        TypeKind::Int => Node::atom("int"),
        TypeKind::Str => Node::atom("str"),
        TypeKind::Fn => Node::atom("fn"),
        TypeKind::Model => Node::atom("model"),
        TypeKind::Tuple(types) => Node::form("tuple", types.iter().map(ty)),
        TypeKind::List(element) => Node::form("list", [ty(element)]),
        TypeKind::Named(n) => name(n),
    }
}

fn tensor(t: &TensorType) -> Node {
    if t.dims.is_empty() {
        return Node::atom(t.dtype.name());
    }
    let dims = t.dims.iter().map(|d| match d {
        Dim::Rest(n) => Node::atom(format!("..{n}")),
        Dim::Expr(e) => expr_node(e),
    });
    Node::form(t.dtype.name(), dims)
}

fn block(b: &Block) -> Node {
    Node::form("do", b.stmts.iter().map(stmt))
}

fn stmt(s: &Stmt) -> Node {
    match &s.kind {
        StmtKind::Expect(e) => Node::form("expect", [expr_node(e)]),
        StmtKind::Assign { targets, ty, value } => {
            let left = targets.iter().map(place).chain(ty.as_ref().map(typed));
            Node::form("=", left.chain([expr_node(value)]))
        }
        StmtKind::Write { target, value } => Node::form("<-", [place(target), expr_node(value)]),
        StmtKind::Expr(e) => expr_node(e),
        StmtKind::Error => Node::form("error", []),
    }
}

fn place(p: &Place) -> Node {
    let base = p.path.iter().fold(name(&p.name), |base, n| Node::form(".", [base, name(n)]));
    if p.index.is_empty() {
        return base;
    }
    Node::form("index", std::iter::once(base).chain(p.index.iter().map(index_item)))
}

fn args(all: &[Arg]) -> impl Iterator<Item = Node> {
    all.iter().map(|a| match &a.name {
        Some(n) => Node::form(format!("{n}:"), [expr_node(&a.value)]),
        None => expr_node(&a.value),
    })
}

fn index_item(item: &IndexItem) -> Node {
    let bound = |b: &Option<Expr>| b.as_ref().map_or(Node::atom("_"), expr_node);
    match &item.kind {
        IndexKind::Rest => Node::atom(".."),
        IndexKind::NewAxis => Node::atom("new-axis"),
        IndexKind::Slice { start: None, end: None, step: None } => Node::atom(":"),
        IndexKind::Slice { start, end, step } => {
            let step = step.as_ref().map(expr_node);
            Node::form("slice", [bound(start), bound(end)].into_iter().chain(step))
        }
        IndexKind::At(e) => expr_node(e),
    }
}

fn str_node(s: &Str) -> Node {
    match s.literal() {
        Some(text) => Node::atom(format!("{text:?}")),
        None => Node::form(
            "text",
            s.parts.iter().map(|p| match p {
                StrPart::Text(text) => Node::atom(format!("{text:?}")),
                StrPart::Name(n) => name(n),
            }),
        ),
    }
}

fn device(d: &DeviceRef) -> Node {
    match d {
        DeviceRef::Literal(device, _) => Node::atom(device.to_string()),
        DeviceRef::Name(n) => name(n),
    }
}

fn expr_node(e: &Expr) -> Node {
    match &e.kind {
        ExprKind::Int(n) => Node::atom(n.to_string()),
        ExprKind::Float(x) => Node::atom(format!("{x:?}")),
        ExprKind::Bool(b) => Node::atom(b.to_string()),
        ExprKind::None => Node::atom("None"),
        ExprKind::Str(s) => str_node(s),
        ExprKind::Name(n) => Node::atom(&**n),
        ExprKind::Type(t) => Node::form("type", [tensor(t)]),
        ExprKind::Device(d) => Node::atom(d.to_string()),
        ExprKind::List(elements) => Node::form("list", elements.iter().map(expr_node)),
        ExprKind::ListFor(l) => {
            let cond = l.cond.as_ref().map(|c| Node::form("if", [expr_node(c)]));
            Node::form(
                "list-for",
                [names(&l.names), expr_node(&l.iter)].into_iter().chain(cond).chain([expr_node(&l.element)]),
            )
        }
        ExprKind::PathMap(entries) => Node::form(
            "map",
            entries
                .iter()
                .map(|e| Node::list(e.keys.iter().map(str_node).chain([expr_node(&e.value)]).collect())),
        ),
        ExprKind::Tuple(elements) => Node::form("tuple", elements.iter().map(expr_node)),
        ExprKind::Unary { op, operand } => Node::form(op.symbol(), [expr_node(operand)]),
        ExprKind::Binary { op, lhs, rhs, .. } => Node::form(op.symbol(), [expr_node(lhs), expr_node(rhs)]),
        ExprKind::Range { start, end } => Node::form("..", [expr_node(start), expr_node(end)]),
        ExprKind::Call { callee, args: all } => {
            Node::form("call", std::iter::once(expr_node(callee)).chain(args(all)))
        }
        ExprKind::Index { base, items } => {
            Node::form("index", std::iter::once(expr_node(base)).chain(items.iter().map(index_item)))
        }
        ExprKind::Field { base, name: n } => Node::form(".", [expr_node(base), name(n)]),
        ExprKind::On { value, device: d } => Node::form("on", [expr_node(value), device(d)]),
        _ => block_expr(e),
    }
}

/// Expressions with blocks in them.
fn block_expr(e: &Expr) -> Node {
    match &e.kind {
        ExprKind::If { branches, otherwise } => {
            let branches = branches.iter().flat_map(|b| [expr_node(&b.cond), block(&b.body)]);
            let otherwise = otherwise.as_ref().map(|b| Node::form("else", b.stmts.iter().map(stmt)));
            Node::form("if", branches.chain(otherwise))
        }
        ExprKind::For { names: n, iter, body } => Node::form("for", [names(n), expr_node(iter), block(body)]),
        ExprKind::Scan { names: n, iter, options, body } => {
            let head = [names(n), expr_node(iter)].into_iter().chain(args(options));
            Node::form("scan", head.chain([block(body)]))
        }
        ExprKind::While { cond, options, body } => {
            Node::form("while", [expr_node(cond)].into_iter().chain(args(options)).chain([block(body)]))
        }
        ExprKind::OnBlock { device: d, body } => Node::form("on", [device(d), block(body)]),
        ExprKind::Keep { dtype, body, .. } => Node::form("keep", [Node::atom(dtype.name()), block(body)]),
        _ => Node::form("error", []),
    }
}
