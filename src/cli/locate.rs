//! Finding a model when none is named.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::bail;
#[cfg(target_os = "linux")]
use edgeqa::serve::previous;

/// The environment variable that names the model.
const VARIABLE: &str = "EDGEQA_MODEL";
const FILE: &str = "model.safetensors";
const DEMO: &str = "models/demo/model.safetensors";
/// Where `edgeqa model install` puts a model for all users.
const SYSTEM: &str = "/var/lib/edgeqa/model.safetensors";
const TWO_WAYS: &str = "\
Get one in one of two ways:
  - run edgeqa in a clone of its repository, which has models/demo/model.safetensors
  - edgeqa-quantize --hub nbroad/deberta-v3-xsmall-squad2 \\
        --revision 04e561b801dc5648425c985d639e3bbfff268469 --license cc-by-4.0 --out model.safetensors
    then give it with --model or EDGEQA_MODEL, or put it into one of these places";

/// The model file to use: `named` if there is one, else `$EDGEQA_MODEL`, else the first that exists of the usual places.
pub fn model(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    choose(
        env::var_os(VARIABLE),
        &places(env::current_exe().ok(), env::var_os("XDG_DATA_HOME"), env::var_os("HOME")),
        is_there,
    )
}

/// The model file to serve with: [`model`], but also one that `$EDGEQA_MODEL` names of which only the previous model is left, which the
/// daemon takes then.
#[cfg(target_os = "linux")]
pub fn served(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match env::var_os(VARIABLE).filter(|value| named.is_none() && !value.is_empty()).map(PathBuf::from) {
        Some(path) if !is_there(&path) && is_there(&previous(&path)) => Ok(path),
        _ => model(named),
    }
}

/// Whether there is a file, also if it cannot be looked at: opening it says why, and another model is not taken in its place.
fn is_there(path: &Path) -> bool {
    match path.metadata() {
        Ok(found) => found.is_file(),
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

/// Where `edgeqa model install` puts a model if no place is named.
#[cfg(target_os = "linux")]
pub fn installed() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return Ok(path.into());
    }
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM.into());
    }
    user_data(env::var_os("XDG_DATA_HOME"), env::var_os("HOME"))
        .ok_or_else(|| anyhow::anyhow!("HOME is no absolute path; say with --to where to install the model"))
}

/// The place for the user's own model.
fn user_data(data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute(data_home).or_else(|| Some(absolute(home)?.join(".local/share")));
    Some(data?.join("edgeqa").join(FILE))
}

fn places(program: Option<PathBuf>, data_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    // A link in a folder of programs leads to the folder that was unpacked.
    let program = program.map(|path| path.canonicalize().unwrap_or(path));
    if let Some(folder) = program.as_deref().and_then(Path::parent) {
        places.extend([folder.join(FILE), folder.join(DEMO)]);
    }
    places.push(Path::new(".").join(DEMO));
    let installed = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    places.extend(user_data(data_home, home));
    places.push(PathBuf::from(SYSTEM));
    // Where a package puts it. The user's own model and the one that root has installed come first.
    places.extend(installed.map(|prefix| prefix.join("share/edgeqa").join(FILE)));
    places
}

fn choose(variable: Option<OsString>, places: &[PathBuf], exists: impl Fn(&Path) -> bool) -> anyhow::Result<PathBuf> {
    if let Some(path) = variable.filter(|value| !value.is_empty()).map(PathBuf::from) {
        if !exists(&path) {
            bail!(
                "{VARIABLE} names {}, which is no file; correct it, or unset it to look in the usual places",
                path.display()
            );
        }
        return Ok(path);
    }
    if let Some(path) = places.iter().find(|path| exists(path)) {
        return Ok(path.clone());
    }
    let looked: String = places.iter().map(|path| format!("\n  - {}", path.display())).collect();
    bail!("found no model. {VARIABLE} is not set, and these do not exist:{looked}\n{TWO_WAYS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Vec<PathBuf> {
        places(Some("/opt/edgeqa/edgeqa".into()), None, Some("/home/ada".into()))
    }

    #[test]
    fn an_installed_program_finds_the_model_of_its_package_last() {
        let places = places(Some("/usr/local/bin/edgeqa".into()), None, Some("/home/ada".into()));
        assert_eq!(places.last(), Some(&"/usr/local/share/edgeqa/model.safetensors".into()));
        assert_eq!(places[places.len() - 2], Path::new(SYSTEM));
        assert_eq!(places[places.len() - 3], Path::new("/home/ada/.local/share/edgeqa/model.safetensors"));
    }

    #[test]
    fn places_in_order() {
        let expected = [
            "/opt/edgeqa/model.safetensors",
            "/opt/edgeqa/models/demo/model.safetensors",
            "./models/demo/model.safetensors",
            "/home/ada/.local/share/edgeqa/model.safetensors",
            SYSTEM,
            "/opt/share/edgeqa/model.safetensors",
        ];
        assert_eq!(usual(), expected.map(PathBuf::from));
        let data = |data_home: &str| places(None, Some(data_home.into()), Some("/home/ada".into())).into_iter().nth(1);
        assert_eq!(data("/data"), Some("/data/edgeqa/model.safetensors".into()));
        assert_eq!(data("relative"), Some("/home/ada/.local/share/edgeqa/model.safetensors".into()));
        assert_eq!(places(None, None, None), ["./models/demo/model.safetensors", SYSTEM].map(PathBuf::from));
    }

    #[test]
    fn the_first_that_exists_is_taken() {
        let found = choose(None, &usual(), |path| path.starts_with("/home") || path.starts_with(".")).unwrap();
        assert_eq!(found, Path::new("./models/demo/model.safetensors"));
    }

    #[test]
    fn the_variable_allows_no_fallback() {
        let found = choose(Some("/m".into()), &usual(), |_| true).unwrap();
        assert_eq!(found, Path::new("/m"));
        let error = choose(Some("/m".into()), &usual(), |path| path != Path::new("/m")).unwrap_err();
        assert!(error.to_string().contains("EDGEQA_MODEL names /m"), "{error}");
        assert!(choose(Some("".into()), &usual(), |_| true).is_ok());
    }

    #[test]
    fn the_error_lists_places_and_ways() {
        let error = choose(None, &usual(), |_| false).unwrap_err().to_string();
        for path in usual() {
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        assert!(error.contains("edgeqa-quantize --hub") && error.contains("--model"), "{error}");
    }
}
