//! Which operations were under way while something was changed, and how long they waited.

use std::time::Duration;

use serde::Serialize;

use crate::steady::Answer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Quiet,
    Move,
    Drain,
    Roll,
}

impl Change {
    pub const ALL: [Change; 4] = [Change::Quiet, Change::Move, Change::Drain, Change::Roll];

    pub fn name(self) -> &'static str {
        match self {
            Change::Quiet => "none",
            Change::Move => "partitions move",
            Change::Drain => "a member is drained",
            Change::Roll => "all members are rolled",
        }
    }
}

/// When a change was made, and its steps, in times since the beginning.
#[derive(Clone, Debug)]
pub struct Window {
    pub change: Change,
    pub begin: Duration,
    pub end: Duration,
    pub steps: Vec<(String, Duration)>,
}

/// The operations of each window, from the shortest wait to the longest. What was under way when a window began belongs to it.
pub fn sort(answers: &[Answer], windows: &[Window]) -> Vec<Vec<Answer>> {
    let mut sorted = vec![Vec::new(); windows.len()];
    for answer in answers {
        let meets = |window: &Window| answer.due < window.end && window.begin <= answer.at;
        if let Some(last) = windows.iter().rposition(meets) {
            sorted[last].push(*answer);
        }
    }
    for answers in &mut sorted {
        answers.sort_by_key(Answer::waited);
    }
    sorted
}

/// In milliseconds: the time within which this part of the operations was answered, 0 to 1. They are sorted.
pub fn quantile_ms(answers: &[Answer], quantile: f64) -> f64 {
    let rank = (answers.len() as f64 * quantile).ceil() as usize;
    let answer = answers.get(rank.saturating_sub(1));
    answer.map_or(f64::NAN, |answer| answer.waited().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(due_ms: u64, at_ms: u64) -> Answer {
        Answer {
            due: Duration::from_millis(due_ms),
            at: Duration::from_millis(at_ms),
            is_success: true,
        }
    }

    fn window(change: Change, begin_ms: u64, end_ms: u64) -> Window {
        Window {
            change,
            begin: Duration::from_millis(begin_ms),
            end: Duration::from_millis(end_ms),
            steps: Vec::new(),
        }
    }

    #[test]
    fn an_operation_belongs_to_the_last_window_in_which_it_was_under_way() {
        let windows = [window(Change::Quiet, 100, 200), window(Change::Roll, 200, 300)];
        let answers = [
            // Before all.
            answer(10, 90),
            // Quiet, from the longest to the shortest.
            answer(110, 150),
            answer(190, 199),
            // Held up by the roll.
            answer(195, 280),
            // Due in it, answered later.
            answer(299, 400),
            // Due behind it.
            answer(300, 310),
        ];
        let sorted = sort(&answers, &windows);
        let waits = |answers: &[Answer]| answers.iter().map(|one| one.waited().as_millis()).collect::<Vec<_>>();
        assert_eq!(
            sorted.iter().map(|one| waits(one)).collect::<Vec<_>>(),
            [[9, 40], [85, 101]]
        );
    }

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let answers: Vec<Answer> = (1..=200).map(|wait| answer(0, wait)).collect();
        assert_eq!(quantile_ms(&answers, 0.5), 100.0);
        assert_eq!(quantile_ms(&answers, 0.99), 198.0);
        assert_eq!(quantile_ms(&answers, 1.0), 200.0);
        assert_eq!(quantile_ms(&answers[..1], 0.0), 1.0);
        assert!(quantile_ms(&[], 0.5).is_nan());
    }
}
