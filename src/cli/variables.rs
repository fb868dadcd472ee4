//! Our own variables, as far as they are no values of flags: empty ones, and those that are none of ours.

use std::ffi::{OsStr, OsString};

use clap::Command;

use super::synonyms;

const PREFIX: &str = "ANNULUS_";
/// How like a name must be to be suggested, from 0 to 1; what clap takes for flags.
const LIKENESS_MIN: f64 = 0.7;

/// Takes the variables that are empty for ones that are not set, as compose files write them.
pub(super) fn without_empty(command: Command, environment: super::Environment<'_>) -> Command {
    command.mut_args(|arg| {
        let is_empty =
            arg.get_env().and_then(OsStr::to_str).and_then(environment).is_some_and(|v| v.is_empty());
        if is_empty { arg.env(clap::builder::Resettable::<clap::builder::OsStr>::Reset) } else { arg }
    })
}

/// A remark for each of `variables` that looks like ours and is not.
pub fn strange(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    let command = super::command();
    let known: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
    let mut names: Vec<String> = variables
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_ours = !name.starts_with(PREFIX) || known.contains(&name.as_str());
            (!is_ours && !is_service_link(&name, &value.to_string_lossy())).then_some(name)
        })
        .collect();
    names.sort_unstable();
    names.iter().map(|name| remark(name, &known)).collect()
}

fn remark(name: &str, known: &[&str]) -> String {
    let flag = tail(name).to_lowercase().replace('_', "-");
    let meant =
        synonyms::flag_meant(&flag).map(|flag| PREFIX.to_owned() + &flag.replace('-', "_").to_uppercase());
    let like = || {
        let likeness = known.iter().map(|known| (strsim::jaro(tail(name), tail(known)), *known));
        let (likeness, nearest) = likeness.max_by(|left, right| left.0.total_cmp(&right.0))?;
        (likeness >= LIKENESS_MIN).then(|| nearest.to_owned())
    };
    match meant.or_else(like) {
        Some(nearest) => {
            format!("{name} is no variable of this server and is not read; did you mean {nearest}?")
        }
        None => format!("{name} is no variable of this server and is not read; see `annulus --help`"),
    }
}

/// A name without what all have in common.
fn tail(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// Whether Kubernetes or Docker has set it, because some service has the name `annulus`.
fn is_service_link(name: &str, value: &str) -> bool {
    let rest = tail(name);
    rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
        || rest.starts_with("PORT_")
        || rest == "PORT" && value.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remarks(variables: &[(&str, &str)]) -> Vec<String> {
        strange(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn a_slip_is_told_with_the_nearest_name() {
        for (name, nearest) in [
            ("ANNULUS_LISTN", "ANNULUS_LISTEN"),
            ("ANNULUS_HEARTBEAT", "ANNULUS_HEARTBEAT_MS"),
            ("ANNULUS_DATADIR", "ANNULUS_DATA_DIR"),
            ("ANNULUS_PORT", "ANNULUS_LISTEN"),
        ] {
            let text = remarks(&[(name, "1")]).concat();
            assert!(
                text.starts_with(&format!("{name} is no variable"))
                    && text.contains(&format!("mean {nearest}?")),
                "{text}"
            );
        }
        assert!(remarks(&[("ANNULUS_Q", "1")]).concat().contains("annulus --help"));
    }

    #[test]
    fn nothing_is_said_of_what_is_ours_empty_or_somebody_elses() {
        let fine = [
            ("ANNULUS_LISTEN", "127.0.0.1:1"),
            ("ANNULUS_LISTN", ""),
            ("LISTEN", "1"),
            ("ANNULUS_PORT", "tcp://10.0.0.1:9000"),
            ("ANNULUS_PORT_9000_TCP_ADDR", "10.0.0.1"),
            ("ANNULUS_SERVICE_HOST", "10.0.0.1"),
            ("ANNULUS_SERVICE_PORT", "9000"),
        ];
        assert_eq!(remarks(&fine), Vec::<String>::new());
    }
}
