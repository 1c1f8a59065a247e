//! Deliberate mistakes, to see that the tests find them: `cargo xtask mutate`.
//!
//! Where a rule could be got wrong in a way that tests may miss, the code asks [`on`] whether to get it wrong.
//! Without the feature `mutate` the answer is a constant `false` and nothing of it is left in the code; with it
//! the environment variable `MLC_MUTATE` names the one mutation that is on.

macro_rules! mutations {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal,)+) => {
        /// A mistake; the documentation says what is done instead of the right thing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Mutation {
            $($(#[doc = $what])+ $variant,)+
        }

        impl Mutation {
            pub const ALL: &'static [Mutation] = &[$(Mutation::$variant,)+];

            /// As `MLC_MUTATE` names it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutation::$variant => $name,)+
                }
            }

            /// What it does.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutation::$variant => concat!($($what),+).trim_ascii(),)+
                }
            }
        }
    };
}

mutations! {
    /// A pad reads its operand without the guard of its low side.
    DropGuard = "drop-guard",
    /// The fill of a pad is what its guarded load gives outside.
    PadOther = "pad-other",
    /// `<=` compares as `<`.
    LessForLessEqual = "less-for-less-equal",
    /// The operands of max are swapped, so that the other one of NaN and of +-0 wins.
    SwapMax = "swap-max",
    /// Sums start at +0 instead of -0.
    PlusZero = "plus-zero",
    /// The lanes of a row reduction fold from half of their number on.
    FoldFrom64 = "fold-from-64",
    /// A chunk of rows ends in the middle of a run of the column tree.
    UnalignedChunk = "unaligned-chunk",
    /// Contractions sum 255 products before they add the sum, not 256.
    ShortSums = "short-sums",
    /// A sum of a product is rounded once, as `fma`.
    FuseMultiplyAdd = "fuse-multiply-add",
    /// A label is compared with positions by its low 32 bits.
    NarrowLabel = "narrow-label",
    /// The last, partial vector of a pass has an element more.
    LongRest = "long-rest",
    /// Kernels start with whatever the upper halves of vectors hold.
    KeepUppers = "keep-uppers",
    /// A phase does not wait for the last chunk of the one before.
    DropBarrier = "drop-barrier",
    /// The first reader of a state does not wait before its writer.
    OmitHazard = "omit-hazard",
    /// Temporaries die one call before their last reader.
    ShortLife = "short-life",
    /// A value is overwritten although another call reads it later.
    EarlyDonation = "early-donation",
    /// In place although the argument is read at other elements than the one that is written.
    ShiftedInPlace = "shifted-in-place",
    /// The order of calls ignores that a write must wait for earlier reads.
    WriteBeforeRead = "write-before-read",
    /// The kernel hash ignores the coefficients of index maps.
    HashIgnoresStride = "hash-ignores-stride",
    /// What was to be recomputed is kept and read all the same.
    KeepDropped = "keep-dropped",
    /// The backward's copy of a value is made of the forward's copies of what is folded into it.
    ShareFolded = "share-folded",
}

/// Is this mutation asked for?
#[cfg(feature = "mutate")]
pub fn on(mutation: Mutation) -> bool {
    static ASKED: std::sync::OnceLock<Option<Mutation>> = std::sync::OnceLock::new();
    // Found once: comparing names may use vectors, and so hide what a mutation leaves in them.
    let asked = ASKED.get_or_init(|| {
        let name = std::env::var("MLC_MUTATE").ok()?;
        Mutation::ALL.iter().copied().find(|m| m.name() == name)
    });
    *asked == Some(mutation)
}

/// Is this mutation asked for? Never in this build.
#[cfg(not(feature = "mutate"))]
#[inline(always)]
pub const fn on(_: Mutation) -> bool {
    false
}
