//! Intervals, and which of them hold a value: sorted by their lower bounds, with a tree of the greatest upper
//! bounds over them. What is found costs a few steps each; what is not costs next to nothing.

/// Intervals with their bounds, and the clause that each stands for.
#[derive(Debug, Default)]
pub struct Intervals<K> {
    /// By lower bound.
    sorted: Vec<(K, K)>,
    clauses: Vec<u32>,
    added: Vec<(K, K, u32)>,
    /// Node `n` has the children `2n` and `2n + 1`; the leaves are the intervals. `None`: none is below.
    highs: Vec<Option<K>>,
    leaves: usize,
}

impl<K: PartialOrd + Copy> Intervals<K> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.sorted.is_empty()
    }

    /// Adds one. What cannot be compared, NaN, holds nothing.
    pub fn add(&mut self, low: K, high: K, clause: u32) {
        if low <= high {
            self.added.push((low, high, clause));
        }
    }

    /// To be called once, after the last [`Intervals::add`].
    pub fn finish(&mut self) {
        let mut all = std::mem::take(&mut self.added);
        all.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        self.sorted = all.iter().map(|(low, high, _)| (*low, *high)).collect();
        self.clauses = all.iter().map(|(.., clause)| *clause).collect();
        self.leaves = all.len().next_power_of_two();
        self.highs = vec![None; self.leaves * 2];
        for (slot, (_, high)) in self.highs.iter_mut().skip(self.leaves).zip(&self.sorted) {
            *slot = Some(*high);
        }
        for node in (1..self.leaves).rev() {
            let higher = match (self.high(node * 2), self.high(node * 2 + 1)) {
                (Some(a), Some(b)) => Some(if a > b { a } else { b }),
                (a, b) => a.or(b),
            };
            if let Some(slot) = self.highs.get_mut(node) {
                *slot = higher;
            }
        }
    }

    fn high(&self, node: usize) -> Option<K> {
        self.highs.get(node).copied().flatten()
    }

    /// The clauses whose interval holds the value.
    #[inline]
    pub fn holding(&self, value: K, to: &mut impl FnMut(&[u32])) {
        if !self.sorted.is_empty() {
            let end = self.sorted.partition_point(|(low, _)| *low <= value);
            self.below(1, 0, self.leaves, end, value, to);
        }
    }

    /// Of the intervals below a node, which are `from..from + count`, those before `end`. As deep as the tree.
    fn below(&self, node: usize, from: usize, count: usize, end: usize, value: K, to: &mut impl FnMut(&[u32])) {
        if from >= end || self.high(node).is_none_or(|high| high < value) {
            return;
        }
        if count == 1 {
            if let Some(clause) = self.clauses.get(from) {
                to(std::slice::from_ref(clause));
            }
            return;
        }
        let half = count / 2;
        self.below(node * 2, from, half, end, value, to);
        self.below(node * 2 + 1, from + half, half, end, value, to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn those_that_hold_a_value_are_found(bounds in prop::collection::vec((0u8..20, 0u8..20), 0..40), value in 0u8..20) {
            let mut intervals = Intervals::default();
            for (clause, (low, high)) in (0u32..).zip(&bounds) {
                intervals.add(*low, *high, clause);
            }
            intervals.finish();
            let mut found = Vec::new();
            intervals.holding(value, &mut |clauses| found.extend_from_slice(clauses));
            found.sort_unstable();
            let holds = |(_, (low, high)): &(u32, &(u8, u8))| *low <= value && value <= *high;
            let expected: Vec<u32> = (0u32..).zip(&bounds).filter(holds).map(|(clause, _)| clause).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
