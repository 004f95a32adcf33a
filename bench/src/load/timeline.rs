//! How far something was at which time.

use std::time::Duration;

pub const TENTHS: usize = 10;

#[derive(Debug, Default)]
pub struct Timeline {
    /// Seconds since the beginning, and a measure of what was done by then, each time that it had grown.
    points: Vec<(f64, u64)>,
    ended: Duration,
}

impl Timeline {
    pub fn note(&mut self, at: Duration, done: u64) {
        if self.points.last().is_none_or(|(_, before)| done > *before) {
            self.points.push((at.as_secs_f64(), done));
        }
    }

    pub fn end(&mut self, at: Duration) {
        self.ended = at;
    }

    /// From the beginning to the end.
    pub fn seconds(&self) -> f64 {
        self.ended.as_secs_f64()
    }

    /// What each tenth of all that was done took, in seconds; none where too little was seen of it.
    pub fn tenths(&self) -> Option<[f64; TENTHS]> {
        if self.points.len() < 2 * TENTHS {
            return None;
        }
        let (_, all) = *self.points.last()?;
        let mut before = 0.0;
        let mut took = [0.0; TENTHS];
        for (index, seconds) in took.iter_mut().enumerate() {
            let at = self.reached(all as f64 * (index + 1) as f64 / TENTHS as f64)?;
            *seconds = at - before;
            before = at;
        }
        Some(took)
    }

    /// When so much was done, evenly between two points.
    fn reached(&self, done: f64) -> Option<f64> {
        let index = self.points.iter().position(|(_, there)| *there as f64 >= done)?;
        let (at, there) = self.points[index];
        let (before, less) = index.checked_sub(1).map_or((0.0, 0), |index| self.points[index]);
        Some(before + (at - before) * (done - less as f64) / (there - less) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_takes_from_the_end_of_the_one_before() {
        let mut timeline = Timeline::default();
        // Twice as slow behind the middle.
        for second in 1..=10 {
            timeline.note(Duration::from_secs(second), second * 100);
        }
        for second in 11..=30 {
            timeline.note(Duration::from_secs(second), 1_000 + (second - 10) * 50);
        }
        timeline.end(Duration::from_secs(31));
        let [first, .., last] = timeline.tenths().unwrap();
        assert_eq!((first, last, timeline.seconds()), (2.0, 4.0, 31.0));
    }

    #[test]
    fn what_does_not_grow_is_no_point_and_few_points_say_nothing() {
        let mut timeline = Timeline::default();
        for second in 0..100 {
            timeline.note(Duration::from_secs(second), second / 10);
        }
        assert_eq!((timeline.points.len(), timeline.tenths()), (10, None));
    }
}
