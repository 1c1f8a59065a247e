//! Dims, types and attribute values.

use super::cursor::{Cursor, Result};
use crate::op::{AttrValue, Attrs, Literal};
use crate::types::{DType, Device, Dim, Relation, Shape, Type};

/// Parentheses nest at most this deep in a dim.
const MAX_DEPTH: usize = 200;

impl Cursor<'_> {
    /// A sum: `4*batch+1`.
    pub(super) fn dim(&mut self) -> Result<Dim> {
        let mut sum = if self.eat("-") { &Dim::ZERO - &self.term()? } else { self.term()? };
        loop {
            if self.eat("+") {
                sum = &sum + &self.term()?;
            } else if self.eat("-") {
                sum = &sum - &self.term()?;
            } else {
                return Ok(sum);
            }
        }
    }

    /// A product of powers; `/` is the floor quotient and `%` the remainder.
    fn term(&mut self) -> Result<Dim> {
        let mut product = self.power()?;
        loop {
            if self.eat("*") {
                product = &product * &self.power()?;
            } else if self.eat("/") {
                product = product.floor_div(&self.power()?);
            } else if self.eat_on_line("%") {
                product = product.rem(&self.power()?);
            } else {
                return Ok(product);
            }
        }
    }

    fn power(&mut self) -> Result<Dim> {
        let base = self.factor()?;
        if !self.eat("**") {
            return Ok(base);
        }
        let at = self.mark();
        let n = self.natural()?;
        let n = u32::try_from(n).map_err(|_| self.error_at(at, "this power is too large"))?;
        Ok(base.pow(n))
    }

    fn factor(&mut self) -> Result<Dim> {
        let at = self.mark();
        if self.eat("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.error_at(at, "parentheses nest too deep"));
            }
            let inner = self.dim()?;
            self.depth -= 1;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.next_word() {
            Some("overflow") => {
                self.eat_word("overflow");
                Ok(Dim::overflow())
            }
            Some(name) => {
                self.eat_word(name);
                Ok(Dim::sym(name))
            }
            None => {
                let n = self.natural().map_err(|_| self.expected("a dim"))?;
                i64::try_from(n)
                    .map(Dim::from)
                    .map_err(|_| self.error_at(at, "this dim does not fit 64 bits"))
            }
        }
    }

    pub(super) fn relation(&mut self) -> Result<Relation> {
        for rel in [Relation::Eq, Relation::Ne, Relation::Le, Relation::Lt] {
            if self.eat(rel.symbol()) {
                return Ok(rel);
            }
        }
        Err(self.expected("`==`, `!=`, `<=` or `<`"))
    }

    /// `f32[batch,784] @cuda:0`.
    pub(super) fn ty(&mut self) -> Result<Type> {
        let at = self.mark();
        let name = self.word("a dtype")?;
        let dtype =
            name.parse::<DType>().map_err(|()| self.error_at(at, format!("`{name}` is not a dtype")))?;
        let mut shape = Shape::new();
        if self.eat_tight("[") {
            shape.extend(self.dims_until_bracket()?);
        }
        let device = if self.eat("@") { Some(self.device()?) } else { None };
        Ok(Type { dtype, shape, device })
    }

    /// The dims of a list behind its `[`.
    fn dims_until_bracket(&mut self) -> Result<Vec<Dim>> {
        let mut dims = vec![];
        while !self.eat("]") {
            if !dims.is_empty() {
                self.expect(",")?;
            }
            dims.push(self.dim()?);
        }
        Ok(dims)
    }

    fn device(&mut self) -> Result<Device> {
        let at = self.mark();
        let kind = self.word("a device")?;
        let index = if self.eat_tight(":") { self.natural()? } else { 0 };
        format!("{kind}:{index}").parse().map_err(|e: String| self.error_at(at, e))
    }

    /// `{axis=1, wrap=true}`, or nothing.
    pub(super) fn attrs(&mut self) -> Result<Attrs> {
        let mut attrs = Attrs::new();
        if !self.eat("{") {
            return Ok(attrs);
        }
        while !self.eat("}") {
            if !attrs.is_empty() {
                self.expect(",")?;
            }
            let name = self.word("an attribute")?;
            self.expect("=")?;
            attrs.list.push((name.to_string(), self.attr()?));
        }
        Ok(attrs)
    }

    fn attr(&mut self) -> Result<AttrValue> {
        if self.peek("\"") {
            return Ok(AttrValue::Str(self.string()?));
        }
        if self.eat("[") {
            return self.list();
        }
        match self.next_word() {
            Some(word @ ("true" | "false")) => {
                self.eat_word(word);
                Ok(AttrValue::Bool(word == "true"))
            }
            Some("cpu" | "cuda") => self.device_or_dim(),
            Some(word) if word.parse::<DType>().is_ok() => self.type_or_literal(),
            _ => Ok(AttrValue::Dim(self.dim()?)),
        }
    }

    /// A dim may be called `cpu`; a device has its index behind it.
    fn device_or_dim(&mut self) -> Result<AttrValue> {
        let at = self.mark();
        self.word("a device")?;
        let device = self.eat_tight(":");
        self.back(at);
        Ok(if device { AttrValue::Device(self.device()?) } else { AttrValue::Dim(self.dim()?) })
    }

    fn type_or_literal(&mut self) -> Result<AttrValue> {
        let at = self.mark();
        let ty = self.ty()?;
        if !self.eat("{") {
            return Ok(AttrValue::Type(ty));
        }
        let elements = self.until('}')?;
        let shape = ty.bound_shape().map(|s| s.into_iter().map(|d| d as u64).collect());
        let literal = shape.and_then(|shape| {
            let parts = elements.split(',').map(str::trim).filter(|e| !e.is_empty());
            Literal::parse_elements(ty.dtype, shape, parts)
        });
        literal
            .map(AttrValue::Literal)
            .ok_or_else(|| self.error_at(at, format!("these are not the elements of {ty}")))
    }

    /// Pairs or dims, behind the `[`.
    fn list(&mut self) -> Result<AttrValue> {
        let at = self.mark();
        if let Some(pairs) = self.pairs() {
            return Ok(AttrValue::Pairs(pairs));
        }
        self.back(at);
        Ok(AttrValue::Dims(self.dims_until_bracket()?))
    }

    /// `(0,1),(2,0)]`; `None` for anything else, a dim in parentheses among it.
    fn pairs(&mut self) -> Option<Vec<(i64, i64)>> {
        let mut pairs = vec![];
        loop {
            self.expect("(").ok()?;
            let a = self.integer().ok()?;
            self.expect(",").ok()?;
            let b = self.integer().ok()?;
            self.expect(")").ok()?;
            pairs.push((a, b));
            if self.eat("]") {
                return Some(pairs);
            }
            self.expect(",").ok()?;
        }
    }
}
