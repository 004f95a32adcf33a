//! OpenMetrics as the older text format, for scrapers that did not ask for OpenMetrics.
//!
//! The difference: there a counter's help and type carry its suffix `_total`, an info is a gauge, and there are no units and no end.

/// Rewrites the lines about the metrics; samples are the same in both.
pub(super) fn without_open_metrics(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(line) = lines.next() {
        let Some(about) = line.strip_prefix("# HELP ") else {
            if !line.starts_with("# UNIT ") && line != "# EOF" {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let (name, help) = about.split_once(' ').unwrap_or((about, ""));
        let kind = lines.next_if(|line| line.starts_with("# TYPE "));
        let kind = kind.and_then(|line| line.rsplit(' ').next()).unwrap_or("untyped");
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            other => ("", other),
        };
        out.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_infos_are_renamed_and_the_rest_is_left() {
        let open = "\
# HELP a_moves Moves.
# TYPE a_moves counter
a_moves_total 3
# HELP a_build Build.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
# UNIT a_wait_seconds seconds
a_wait_seconds_sum 0.5
# EOF
";
        let older = "\
# HELP a_moves_total Moves.
# TYPE a_moves_total counter
a_moves_total 3
# HELP a_build_info Build.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
a_wait_seconds_sum 0.5
";
        assert_eq!(without_open_metrics(open), older);
    }
}
