//! Attributes of ops as named values: what the text form prints between `{` and `}`.
//!
//! [`OpDef::attrs`](super::OpDef::attrs) lists them in a fixed order and
//! [`OpDef::from_attrs`](super::OpDef::from_attrs) builds the op from them again. A value prints
//! without its kind, so text is ambiguous (`[1,2]` is a list of integers and of dims); the accessors
//! of [`Attrs`] accept every kind that prints alike:
//!
//! | kind | text |
//! |---|---|
//! | `Int` | `3` |
//! | `Ints` | `[0,2]` |
//! | `Dim` | `batch+1` |
//! | `Dims` | `[batch,784]` |
//! | `Pairs` | `[(0,0),(1,2)]` |
//! | `Bool` | `true` |
//! | `DType` | `f32` |
//! | `Type` | `f32[batch,784] @cpu:0` |
//! | `Device` | `cuda:0` |
//! | `Str` | `"fc1.weight"` |
//! | `Literal` | `f32[2] {1.0, inf}`, `i64 {3}` |
//! | `Region` | lines in braces, behind the others: see [`crate::graph`] |

use std::fmt;

use super::{Literal, Op};
use crate::graph::Region;
use crate::types::{DType, Device, Dim, Shape, Symbol, Type};

#[derive(Debug, Clone, PartialEq)]
pub enum AttrValue {
    Int(i64),
    Ints(Vec<i64>),
    Dim(Dim),
    Dims(Vec<Dim>),
    Pairs(Vec<(i64, i64)>),
    Bool(bool),
    DType(DType),
    Type(Type),
    Device(Device),
    Str(String),
    Literal(Literal),
    Region(Region),
}

/// An ordered list of named values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attrs {
    pub list: Vec<(String, AttrValue)>,
}

impl Attrs {
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// Adds a value at the end.
    pub fn with(mut self, name: &str, value: impl Into<AttrValue>) -> Attrs {
        self.list.push((name.into(), value.into()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.list.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// The value of this name.
    ///
    /// # Errors
    /// A message for whoever wrote the text form; the accessors below err likewise, also where the
    /// value is of another kind.
    pub fn get(&self, name: &str) -> Result<&AttrValue, String> {
        let found = self.list.iter().find(|(n, _)| n == name);
        found.map(|(_, v)| v).ok_or_else(|| format!("the attribute `{name}` is missing"))
    }

    fn read<T>(&self, name: &str, what: &str, f: impl FnOnce(&AttrValue) -> Option<T>) -> Result<T, String> {
        let value = self.get(name)?;
        f(value).ok_or_else(|| format!("the attribute `{name}` must be {what}, this is {value}"))
    }

    pub fn int(&self, name: &str) -> Result<i64, String> {
        self.read(name, "an integer", AttrValue::as_int)
    }

    pub fn u32(&self, name: &str) -> Result<u32, String> {
        self.read(name, "a 32-bit natural number", |v| v.as_int()?.try_into().ok())
    }

    pub fn ints(&self, name: &str) -> Result<Vec<i64>, String> {
        self.read(name, "a list of integers", AttrValue::as_ints)
    }

    pub fn axis(&self, name: &str) -> Result<usize, String> {
        self.read(name, "an axis", |v| v.as_int()?.try_into().ok())
    }

    pub fn axes(&self, name: &str) -> Result<Vec<usize>, String> {
        self.read(name, "a list of axes", |v| v.as_ints()?.into_iter().map(|i| i.try_into().ok()).collect())
    }

    pub fn dim(&self, name: &str) -> Result<Dim, String> {
        self.read(name, "a dim", AttrValue::as_dim)
    }

    pub fn dims(&self, name: &str) -> Result<Vec<Dim>, String> {
        self.read(name, "a list of dims", |v| match v {
            AttrValue::Dims(d) => Some(d.clone()),
            _ => Some(v.as_ints()?.into_iter().map(Dim::from).collect()),
        })
    }

    pub fn shape(&self, name: &str) -> Result<Shape, String> {
        Ok(self.dims(name)?.into_iter().collect())
    }

    pub fn axis_pairs(&self, name: &str) -> Result<Vec<(usize, usize)>, String> {
        self.read(name, "a list of pairs of axes", |v| match v {
            AttrValue::Pairs(p) => {
                p.iter().map(|&(a, b)| Some((a.try_into().ok()?, b.try_into().ok()?))).collect()
            }
            _ => v.as_ints().filter(Vec::is_empty).map(|_| vec![]),
        })
    }

    pub fn bool(&self, name: &str) -> Result<bool, String> {
        self.read(name, "true or false", |v| match v {
            AttrValue::Bool(b) => Some(*b),
            _ => None,
        })
    }

    pub fn dtype(&self, name: &str) -> Result<DType, String> {
        self.read(name, "a dtype", |v| match v {
            AttrValue::DType(d) => Some(*d),
            AttrValue::Type(t) if t.shape.is_empty() && t.device.is_none() => Some(t.dtype),
            _ => None,
        })
    }

    pub fn ty(&self, name: &str) -> Result<Type, String> {
        self.read(name, "a type", |v| match v {
            AttrValue::Type(t) => Some(t.clone()),
            AttrValue::DType(d) => Some(Type::scalar(*d)),
            _ => None,
        })
    }

    pub fn device(&self, name: &str) -> Result<Device, String> {
        self.read(name, "a device", |v| match v {
            AttrValue::Device(d) => Some(*d),
            _ => None,
        })
    }

    pub fn str(&self, name: &str) -> Result<&str, String> {
        match self.get(name)? {
            AttrValue::Str(s) => Ok(s),
            v => Err(format!("the attribute `{name}` must be a string, this is {v}")),
        }
    }

    pub fn symbol(&self, name: &str) -> Result<Symbol, String> {
        Ok(self.str(name)?.into())
    }

    pub fn literal(&self, name: &str) -> Result<Literal, String> {
        self.read(name, "a literal", |v| match v {
            AttrValue::Literal(l) => Some(l.clone()),
            _ => None,
        })
    }

    pub fn region(&self, name: &str) -> Result<Region, String> {
        self.read(name, "a region", |v| match v {
            AttrValue::Region(r) => Some(r.clone()),
            _ => None,
        })
    }

    /// Replaces every dim in every value.
    pub fn map_dims(mut self, f: &dyn Fn(&Dim) -> Dim) -> Attrs {
        for (_, value) in &mut self.list {
            match value {
                AttrValue::Dim(d) => *d = f(d),
                AttrValue::Dims(dims) => dims.iter_mut().for_each(|d| *d = f(d)),
                AttrValue::Type(t) => t.shape.iter_mut().for_each(|d| *d = f(d)),
                AttrValue::Region(r) => *r = r.map_dims(f),
                _ => {}
            }
        }
        self
    }
}

impl Op {
    /// Every dim in its attributes; those of a region are the region's.
    pub fn dims(&self) -> Vec<Dim> {
        let dims = |v| match v {
            AttrValue::Dim(d) => vec![d],
            AttrValue::Dims(d) => d,
            AttrValue::Type(t) => t.shape.into_vec(),
            _ => vec![],
        };
        self.attrs().list.into_iter().flat_map(|(_, v)| dims(v)).collect()
    }

    /// This op with every dim in its attributes replaced: how dims are bound.
    pub fn map_dims(&self, f: &dyn Fn(&Dim) -> Dim) -> Op {
        let attrs = self.attrs();
        if !attrs
            .iter()
            .any(|(_, v)| matches!(v, AttrValue::Dim(_) | AttrValue::Dims(_) | AttrValue::Type(_)))
        {
            return self.clone();
        }
        // An op accepts its own attributes: tested for every sample of every op.
        Op::from_attrs(self.name(), &attrs.map_dims(f)).unwrap_or_else(|_| self.clone())
    }
}

impl AttrValue {
    fn as_int(&self) -> Option<i64> {
        match self {
            AttrValue::Int(i) => Some(*i),
            AttrValue::Dim(d) => d.as_const(),
            _ => None,
        }
    }

    fn as_dim(&self) -> Option<Dim> {
        match self {
            AttrValue::Int(i) => Some(Dim::from(*i)),
            AttrValue::Dim(d) => Some(d.clone()),
            _ => None,
        }
    }

    fn as_ints(&self) -> Option<Vec<i64>> {
        match self {
            AttrValue::Ints(i) => Some(i.clone()),
            AttrValue::Dims(d) => d.iter().map(Dim::as_const).collect(),
            AttrValue::Pairs(p) if p.is_empty() => Some(vec![]),
            _ => None,
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    write!(f, "[{}]", items.join(","))
}

impl fmt::Display for AttrValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrValue::Int(i) => write!(f, "{i}"),
            AttrValue::Ints(i) => list(f, i),
            AttrValue::Dim(d) => write!(f, "{d}"),
            AttrValue::Dims(d) => list(f, d),
            AttrValue::Pairs(p) => {
                let items: Vec<String> = p.iter().map(|(a, b)| format!("({a},{b})")).collect();
                list(f, &items)
            }
            AttrValue::Bool(b) => write!(f, "{b}"),
            AttrValue::DType(d) => write!(f, "{d}"),
            AttrValue::Type(t) => write!(f, "{t}"),
            AttrValue::Device(d) => write!(f, "{d}"),
            AttrValue::Str(s) => write!(f, "{s:?}"),
            AttrValue::Literal(l) => write!(f, "{l}"),
            AttrValue::Region(r) => write!(f, "{{\n{r}}}"),
        }
    }
}

impl fmt::Display for Attrs {
    /// ` {axis=1, wrap=true}` with a space in front; nothing for no attributes. Not regions, which the
    /// graph's text shows as lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.list.iter().filter(|(_, v)| !matches!(v, AttrValue::Region(_)));
        let items: Vec<String> = shown.map(|(n, v)| format!("{n}={v}")).collect();
        if items.is_empty() {
            return Ok(());
        }
        write!(f, " {{{}}}", items.join(", "))
    }
}

macro_rules! from {
    ($($ty:ty => |$v:ident| $value:expr;)*) => {
        $(impl From<$ty> for AttrValue {
            fn from($v: $ty) -> AttrValue {
                $value
            }
        })*
    };
}

fn int(i: usize) -> i64 {
    i64::try_from(i).unwrap_or(i64::MAX)
}

from! {
    i64 => |v| AttrValue::Int(v);
    usize => |v| AttrValue::Int(int(v));
    u32 => |v| AttrValue::Int(v.into());
    bool => |v| AttrValue::Bool(v);
    DType => |v| AttrValue::DType(v);
    Device => |v| AttrValue::Device(v);
    Dim => |v| AttrValue::Dim(v);
    Type => |v| AttrValue::Type(v);
    Literal => |v| AttrValue::Literal(v);
    Region => |v| AttrValue::Region(v);
    &str => |v| AttrValue::Str(v.into());
    &[usize] => |v| AttrValue::Ints(v.iter().map(|&i| int(i)).collect());
    &[i64] => |v| AttrValue::Ints(v.to_vec());
    &[Dim] => |v| AttrValue::Dims(v.to_vec());
    &[(usize, usize)] => |v| AttrValue::Pairs(v.iter().map(|&(a, b)| (int(a), int(b))).collect());
}
