//! Serde for fields whose types it does not know by itself: short vectors, and what is shared. They are written as
//! any sequence, text or value; that something was shared is not kept.
//!
//! (The features of `serde` and `smallvec` for them would do the same, but reach into Cranelift's dependencies.)

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

use crate::Symbol;

/// `SmallVec<[T; n]>`.
pub mod small {
    use super::*;

    pub fn serialize<A, S>(list: &SmallVec<A>, out: S) -> Result<S::Ok, S::Error>
    where
        A: Array<Item: Serialize>,
        S: Serializer,
    {
        list[..].serialize(out)
    }

    pub fn deserialize<'de, A, D>(from: D) -> Result<SmallVec<A>, D::Error>
    where
        A: Array<Item: Deserialize<'de>>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(from)?.into())
    }
}

/// `Arc<T>`.
pub mod shared {
    use super::*;

    pub fn serialize<T: Serialize + ?Sized, S: Serializer>(
        value: &Arc<T>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        (**value).serialize(out)
    }

    pub fn deserialize<'de, T: ?Sized, D>(from: D) -> Result<Arc<T>, D::Error>
    where
        Box<T>: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Box::<T>::deserialize(from)?.into())
    }
}

/// `Vec<Symbol>`.
pub mod symbols {
    use super::*;

    pub fn serialize<S: Serializer>(list: &[Symbol], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(list.iter().map(|s| &**s))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Symbol>, D::Error> {
        Ok(Vec::<Box<str>>::deserialize(from)?.into_iter().map(Symbol::from).collect())
    }
}

/// `BTreeMap<Symbol, T>`.
pub mod by_symbol {
    use super::*;

    pub fn serialize<T: Serialize, S: Serializer>(
        map: &BTreeMap<Symbol, T>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_map(map.iter().map(|(k, v)| (&**k, v)))
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Symbol, T>, D::Error> {
        let map = BTreeMap::<Box<str>, T>::deserialize(from)?;
        Ok(map.into_iter().map(|(k, v)| (Symbol::from(k), v)).collect())
    }
}
