//! Weighted means of an entry's scalars over several calls, under names that are kept from step to step.
//!
//! Invariant: once every scalar and every report has been seen, nothing here allocates.

use super::engine::Scalar;

/// A named scalar's sum.
struct Sum {
    name: String,
    total: f64,
    weight: f64,
}

/// Sums by name, in the order in which the names first came.
#[derive(Default)]
pub struct Sums {
    sums: Vec<Sum>,
    /// The memory of names that are not in every report: those of losses that do not run in every step.
    spare: Vec<String>,
}

impl Sums {
    /// Starts again from nothing; the names stay.
    pub fn clear(&mut self) {
        for s in &mut self.sums {
            (s.total, s.weight) = (0.0, 0.0);
        }
    }

    /// The places of scalars' sums, for [`Sums::add`].
    pub fn places(&mut self, scalars: &[Scalar]) -> Vec<usize> {
        let mut place = |scalar: &Scalar| match self.sums.iter().position(|s| s.name == scalar.name) {
            Some(i) => i,
            None => {
                self.sums.push(Sum { name: scalar.name.clone(), total: 0.0, weight: 0.0 });
                self.sums.len() - 1
            }
        };
        scalars.iter().map(&mut place).collect()
    }

    /// Adds one call's values; `weighted` by the rows or elements that each is a mean over.
    pub fn add(&mut self, places: &[usize], scalars: &[Scalar], values: &[f64], weighted: bool) {
        for ((&place, scalar), &value) in places.iter().zip(scalars).zip(values) {
            let weight = if weighted { scalar.weight.unwrap_or(1) as f64 } else { 1.0 };
            if weight != 0.0 {
                self.sums[place].total += value * weight;
                self.sums[place].weight += weight;
            }
        }
    }

    /// The mean of what was added since the last [`Sums::clear`].
    pub fn get(&self, name: &str) -> Option<f64> {
        self.sums.iter().find(|s| s.name == name && s.weight != 0.0).map(Sum::mean)
    }

    /// Puts the means called `prefix` (as the empty name) or `prefix.NAME` into `list`, in whose place they often
    /// are already.
    pub fn named(&mut self, prefix: &str, list: &mut Vec<(String, f64)>) {
        let mut count = 0;
        for s in self.sums.iter().filter(|s| s.weight != 0.0) {
            let Some(name) = under(prefix, &s.name) else { continue };
            if count == list.len() {
                list.push((self.spare.pop().unwrap_or_default(), 0.0));
            }
            let entry = &mut list[count];
            if entry.0 != name {
                entry.0.replace_range(.., name);
            }
            entry.1 = s.mean();
            count += 1;
        }
        self.spare.extend(list.drain(count..).map(|entry| entry.0));
    }
}

impl Sum {
    fn mean(&self) -> f64 {
        self.total / self.weight
    }
}

/// What follows the prefix: nothing, or a name after a dot.
fn under<'n>(prefix: &str, name: &'n str) -> Option<&'n str> {
    match name.strip_prefix(prefix)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(name: &str, weight: Option<u64>) -> Scalar {
        Scalar { name: name.into(), weight }
    }

    #[test]
    fn means_by_name() {
        let mut sums = Sums::default();
        let scalars = [scalar("loss", Some(3)), scalar("loss.aux", Some(0)), scalar("lossy", None)];
        let places = sums.places(&scalars);
        let mut list = vec![("stale".to_string(), 9.0), ("more".to_string(), 9.0)];
        for _ in 0..2 {
            sums.clear();
            sums.add(&places, &scalars, &[1.0, 5.0, 7.0], true);
            sums.add(
                &places,
                &[scalar("loss", Some(1)), scalars[1].clone(), scalars[2].clone()],
                &[5.0, 0.0, 9.0],
                true,
            );
            sums.named("loss", &mut list);
            assert_eq!(list, [(String::new(), 2.0)]);
            assert_eq!((sums.get("lossy"), sums.get("loss.aux")), (Some(8.0), None));
        }
        sums.clear();
        sums.add(&places, &scalars, &[1.0, 5.0, 7.0], false);
        sums.named("loss", &mut list);
        assert_eq!(list, [(String::new(), 1.0), ("aux".to_string(), 5.0)]);
    }
}
