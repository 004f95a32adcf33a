//! How long clients waited for the members that were killed.

use std::time::Duration;

use crate::steady::Answer;

/// When a member was killed, and when it was started again.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub at: Duration,
    pub back: Duration,
}

/// The longest that an operation waited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// Of those under way at the kill, or due while the member was away.
    pub killed: Duration,
    /// Of those due later, before the next kill.
    pub returned: Duration,
}

pub fn gaps(answers: &[Answer], kills: &[Kill]) -> Vec<Gap> {
    let longest = |belongs: &dyn Fn(&Answer) -> bool| {
        let waited = answers.iter().filter(|answer| belongs(answer));
        waited.map(Answer::waited).max().unwrap_or_default()
    };
    let next_kills = kills.iter().skip(1).map(|kill| kill.at);
    let ends = next_kills.chain([Duration::MAX]);
    let gap = |(kill, end): (&Kill, Duration)| Gap {
        killed: longest(&|answer| answer.due < kill.back && answer.at >= kill.at),
        returned: longest(&|answer| kill.back <= answer.due && answer.at < end),
    };
    kills.iter().zip(ends).map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(due: u64, at: u64) -> Answer {
        Answer {
            due: Duration::from_secs(due),
            at: Duration::from_secs(at),
            is_success: true,
        }
    }

    fn kill(at: u64, back: u64) -> Kill {
        Kill {
            at: Duration::from_secs(at),
            back: Duration::from_secs(back),
        }
    }

    #[test]
    fn a_wait_belongs_to_the_kill_that_it_was_under_way_at() {
        let answers = [
            // Long before.
            answer(0, 9),
            // Under way at the first kill.
            answer(9, 13),
            // Due while the member was away, and answered after its return.
            answer(14, 20),
            // After its return.
            answer(16, 19),
            // Under way at the second kill.
            answer(29, 31),
        ];
        let found = gaps(&answers, &[kill(10, 15), kill(30, 35)]);
        let seconds = |gap: &Gap| (gap.killed.as_secs(), gap.returned.as_secs());
        assert_eq!(found.iter().map(seconds).collect::<Vec<_>>(), [(6, 3), (2, 0)]);
    }
}
