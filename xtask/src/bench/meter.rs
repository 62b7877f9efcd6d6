//! What a command costs, as GNU time says it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::tool;

/// The cost of a process and all that it waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Seconds of processor time, user and system.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Resident KiB of the largest process, at its peak.
    pub(crate) peak: u64,
}

impl Cost {
    pub(crate) fn line(&self) -> String {
        format!("{:7.2} CPU s {:7.2} s {:5} MiB", self.cpu, self.wall, self.peak / 1024)
    }

    /// `user system wall peak`, as asked for below.
    fn read(text: &str) -> Result<Cost> {
        let line = text.lines().last().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [user, system, wall, peak] = words.as_slice() else {
            bail!("read what `time` wrote: `{text}`");
        };
        let number = |word: &str| word.parse::<f64>().with_context(|| format!("read `{line}`"));
        let peak = peak.parse().with_context(|| format!("read `{line}`"))?;
        Ok(Cost { cpu: number(user)? + number(system)?, wall: number(wall)?, peak })
    }
}

/// Runs a command to its good end; its cost and its standard output.
pub(crate) fn measure(command: &Command, scratch: &Path) -> Result<(Cost, String)> {
    let file = scratch.join("cost");
    let mut timed = tool("time")?;
    timed.args(["--format", "%U %S %e %M", "--output"]).arg(&file);
    timed.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    let output = timed.output().context("start `time`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("what was to be measured ended with {}: {}", output.status, tail.join("\n"));
    }
    let text = std::fs::read_to_string(&file).context("read what `time` wrote")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((Cost::read(&text)?, said))
}

/// The middle by processor time; the lower one of two.
pub(crate) fn median(costs: &[Cost]) -> Option<Cost> {
    let mut sorted = costs.to_vec();
    sorted.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_add_up_and_anything_else_is_refused() {
        let cost = Cost::read("1.50 0.25 3.00 2048\n").unwrap();
        assert_eq!(cost, Cost { cpu: 1.75, wall: 3.0, peak: 2048 });
        assert!(Cost::read("Command exited with non-zero status 1\n1 2 3\n").is_err());
        assert!(Cost::read("").is_err());
    }

    #[test]
    fn the_median_is_a_run_that_happened() {
        let cost = |cpu| Cost { cpu, wall: 0.0, peak: 0 };
        assert_eq!(median(&[cost(3.0), cost(1.0), cost(2.0)]), Some(cost(2.0)));
        assert_eq!(median(&[cost(3.0), cost(1.0)]), Some(cost(1.0)));
        assert_eq!(median(&[]), None);
    }
}
