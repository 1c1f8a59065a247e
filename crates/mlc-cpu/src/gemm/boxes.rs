//! Ranges of positions as boxes. A tile's rows are a range of the row-major positions of the m axes; generated code
//! runs over boxes, with bounds for each axis. With one axis, or where a range covers whole inner axes, it is one box.

use std::ops::Range;

/// Axes in row-major order, and a range of their positions.
pub type Group<'a> = (&'a [u64], Range<u64>);

/// Calls `f` for boxes that together are the product of the groups' ranges, each time with first and past-the-last
/// position of every axis in `bounds`. An empty range is no box.
///
/// # Safety
/// `bounds` has room for all axes.
pub unsafe fn for_boxes(groups: &[Group<'_>], bounds: *mut [i64; 2], f: &mut dyn FnMut()) {
    match groups {
        [] => f(),
        [(extents, range), rest @ ..] if !range.is_empty() => {
            // SAFETY: the caller's promise.
            unsafe { axis(extents, range.clone(), rest, bounds, f) }
        }
        _ => {}
    }
}

/// As [`for_boxes`] for a range that is not empty of the first group's axes, then the rest.
unsafe fn axis(
    extents: &[u64],
    range: Range<u64>,
    rest: &[Group<'_>],
    bounds: *mut [i64; 2],
    f: &mut dyn FnMut(),
) {
    let Some((_, inner)) = extents.split_first() else {
        // SAFETY: the caller's promise.
        return unsafe { for_boxes(rest, bounds, f) };
    };
    let size: u64 = inner.iter().product();
    let mut at = range.start;
    // A part of the first position, whole positions, a part of the last.
    while at < range.end {
        let first = at / size;
        let whole = if at.is_multiple_of(size) { range.end / size } else { first };
        let (last, end) = if whole > first {
            (whole, whole * size)
        } else {
            (first + 1, range.end.min((first + 1) * size))
        };
        let part = if whole > first { 0..size } else { at - first * size..end - first * size };
        // SAFETY: the caller's promise; this axis has the first place.
        unsafe {
            bounds.write([first as i64, last as i64]);
            axis(inner, part, rest, bounds.add(1), f);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every range of every small shape: the boxes cover each position once.
    #[test]
    fn boxes_cover_ranges() {
        for extents in [&[][..], &[5], &[3, 4], &[2, 3, 3], &[1, 4, 1, 2]] {
            let count: u64 = extents.iter().product();
            for lo in 0..count {
                for hi in lo..=count {
                    let mut seen = vec![0; count as usize];
                    let groups = [(&[2u64][..], 1..2), (extents, lo..hi)];
                    let mut bounds = [[0; 2]; 8];
                    let bounds: *mut [i64; 2] = bounds.as_mut_ptr();
                    let mut mark = || {
                        // SAFETY: the array is there; nobody else uses it.
                        let b = unsafe { std::slice::from_raw_parts(bounds, 1 + extents.len()) };
                        assert_eq!(b[0], [1, 2]);
                        for p in 0..count {
                            let mut rest = p;
                            let inside = extents.iter().zip(&b[1..]).rev().all(|(&e, bound)| {
                                let i = (rest % e) as i64;
                                rest /= e;
                                (bound[0]..bound[1]).contains(&i)
                            });
                            seen[p as usize] += i32::from(inside);
                        }
                    };
                    // SAFETY: there is room for five axes.
                    unsafe { for_boxes(&groups, bounds, &mut mark) };
                    assert!(
                        (0..count).all(|p| seen[p as usize] == i32::from((lo..hi).contains(&p))),
                        "{extents:?} {lo}..{hi}"
                    );
                }
            }
        }
    }
}
