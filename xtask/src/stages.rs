//! The list of stages that the program prints.

use anyhow::{Context, Result, bail};

/// One line of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StageRuns {
    pub(crate) name: String,
    pub(crate) ran: u64,
    pub(crate) kept: u64,
}

/// Reads `name  n ran  n kept …` of what the program said.
pub(crate) fn stages(said: &str) -> Result<Vec<StageRuns>> {
    let mut found = Vec::new();
    for line in said.lines().skip_while(|line| *line != "stages").skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, ran, "ran", kept, "kept", ..] = words.as_slice() else { break };
        let number = |word: &str| word.parse::<u64>().with_context(|| format!("read `{line}`"));
        found.push(StageRuns { name: (*name).to_owned(), ran: number(ran)?, kept: number(kept)? });
    }
    if found.is_empty() {
        bail!("the program printed no list of stages:\n{said}");
    }
    Ok(found)
}

pub(crate) fn named<'a>(stages: &'a [StageRuns], name: &str) -> Result<&'a StageRuns> {
    let found = stages.iter().find(|stage| stage.name == name);
    found.with_context(|| format!("find stage `{name}` in the program's list"))
}

/// An empty store has no package read yet.
pub(crate) fn everything_ran(said: &str, packages: usize) -> Result<()> {
    let stages = stages(said)?;
    let import = named(&stages, "import")?;
    if import.ran != packages as u64 || import.kept > 0 {
        bail!("{packages} packages are locked, and an empty store shows {import:?}");
    }
    Ok(())
}

pub(crate) fn nothing_to_do(said: &str) -> Result<()> {
    for stage in stages(said)? {
        if stage.ran > 0 {
            bail!("nothing had changed, and stage `{}` ran {} times", stage.name, stage.ran);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "stages\n    import  145 ran    0 kept     9.31 s  a 1, …\n     \
                        merge    0 ran    2 kept     0.00 s  \n\nwrote x\n";

    #[test]
    fn the_list_of_stages_is_read_and_a_run_is_seen() {
        let found = stages(LIST).unwrap();
        let import = StageRuns { name: "import".into(), ran: 145, kept: 0 };
        assert_eq!((found.len(), &found[0], found[1].kept), (2, &import, 2));
        assert!(nothing_to_do(LIST).unwrap_err().to_string().contains("`import` ran 145 times"));
        assert!(nothing_to_do(&LIST.replace("145 ran", "0 ran")).is_ok());
        assert!(everything_ran(LIST, 145).is_ok() && everything_ran(LIST, 146).is_err());
        assert!(stages("wrote x\n").is_err());
    }
}
