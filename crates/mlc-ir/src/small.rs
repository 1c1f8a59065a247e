//! Serde for short vectors, as for any sequence. (The feature of `smallvec` itself would rebuild half of the
//! dependencies, Cranelift among them, for these lines.)

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

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
